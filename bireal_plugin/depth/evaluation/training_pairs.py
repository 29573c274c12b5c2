"""``TrainingPairsHook``: validation by the pairs that the network was trained on."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from bireal_plugin.depth.camera import TrainedOn
from bireal_plugin.depth.evaluation.metrics import DepthMetric
from bireal_plugin.depth.networks.network import size_warning
from bireal_plugin.errors import InputError


@HOOKS.register_module()
class TrainingPairsHook(Hook):
    """Hands the training pairs to ``DepthMetric`` and warns where images of another size are judged, or none are.

    In training they are those of the data set, in a test those that the checkpoint tells.
    """

    trained_on: TrainedOn | None = None

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        told = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        self.trained_on = TrainedOn.of(told, str(runner._load_from or 'the checkpoint'))

    def before_train(self, runner: Any) -> None:
        self.trained_on = getattr(runner.train_dataloader.dataset, 'trained_on', None)
        if runner.val_loop is None:
            runner.logger.warning('nothing is scored, since val_dataloader is None: the losses alone tell the progress')
        else:
            self._prepare(runner, runner.val_loop)

    def before_test(self, runner: Any) -> None:
        self._prepare(runner, runner.test_loop)

    def _prepare(self, runner: Any, loop: Any) -> None:
        if self.trained_on is None:
            return
        size = getattr(loop.dataloader.dataset, 'size', None)
        if size is not None and (text := size_warning(size, self.trained_on.size, 'the network')) is not None:
            runner.logger.warning(text)
        try:
            self.trained_on.baseline  # noqa: B018  raises
        except InputError as error:
            runner.logger.warning(f'{error}; here each pair is judged with its own')
            return
        for metric in loop.evaluator.metrics:
            if isinstance(metric, DepthMetric):
                metric.trained_on = self.trained_on
