"""Checkpoints of plain data instead of mmengine's pickled objects; the latest checkpoint of a folder."""

from __future__ import annotations

import re
from collections.abc import Sized
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.registry import HOOKS

from bireal_plugin.checkpoints.file import (
    KEY,
    Checkpoint,
    Origin,
    not_finite,
    plain,
    read_checkpoint,
    write_checkpoint,
)
from bireal_plugin.errors import InputError, listed
from bireal_plugin.training.hooks.plan import unwrapped
from bireal_plugin.training.image_size import Size, items_size

CURVE = ('values', 'counts')  # the two arrays of a HistoryBuffer
DATA = 'data'  # in the meta of a checkpoint: see data_facts
TOLD_ANEW = ('cfg', 'epoch', 'iter')  # in the hub: what a Runner tells when it starts, and a checkpoint in its meta
TIMES = ('val/time', 'val/data_time')
VALIDATED = 'validated_at'  # in the hub: the number of iterations before each validation, in their order


def numbered_checkpoints(folder: str | Path) -> list[Path]:
    """The files ``epoch_*.pth`` and ``iter_*.pth`` in ``folder``, the highest number first."""
    numbers = {path: re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', path.name) for path in Path(folder).glob('*.pth')}
    found = {path: int(match[1]) for path, match in numbers.items() if match}
    return sorted(found, key=lambda path: found[path], reverse=True)


def latest_checkpoint(folder: str | Path) -> Path | None:
    """The ``epoch_*.pth`` or ``iter_*.pth`` with the highest number in ``folder``, else what ``last_checkpoint`` names.

    mmengine goes by that file alone; it holds an absolute path, which is wrong once the folder has moved.
    """
    pointer = Path(folder, 'last_checkpoint')
    pointed = pointer.read_text(errors='replace').strip() if pointer.is_file() else ''
    return next(iter([*numbered_checkpoints(folder), *([Path(pointed)] if pointed else [])]), None)


def last_metrics(hub: MessageHub) -> dict[str, float]:
    """The metrics of a run's last validation, from its curves; empty before the first."""
    curves = {key: curve for key, curve in hub.log_scalars.items() if key.startswith('val/') and key not in TIMES}
    return {key.removeprefix('val/'): float(curve.current()) for key, curve in curves.items()}


def data_facts(runner: Any) -> dict[str, Any]:
    """Counts of what a Runner trains on, by which a resumed run tells its data from others: plain values."""
    loader = getattr(getattr(runner, 'train_loop', None), 'dataloader', None)
    facts = dict(total_batch_size=(getattr(loader, 'batch_size', None) or 0) * get_world_size())
    dataset = getattr(loader, 'dataset', None)
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    images = len(dataset) if isinstance(dataset, Sized) else 0
    return {**facts, 'images': images, 'classes': [str(each) for each in classes or ()]}


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Makes mmengine's checkpoints loadable with ``weights_only=True``, in any Runner.

    mmengine pickles its message hub (``HistoryBuffer`` objects), which torch >= 2.6 refuses to load on resume. On
    saving, the log curves become tensors; on loading they become buffers again. ``meta.trained`` holds the run's config
    and stage as plain data, for ``load_trained``, the ``size`` of its validation images, and the ``metrics`` of these
    very weights where they have been measured, which of a run's last checkpoint is after the run; ``meta.data`` its
    ``data_facts``, and ``message_hub.runtime_info.validated_at`` the iterations of the validations. Functions that some
    schedulers keep in their state are left out; their constructors set them. A network with NaN or infinite weights is
    not saved at all, so that the last good checkpoint stays the last.
    """

    priority = 'VERY_LOW'
    size: Size | None = None

    def before_train(self, runner: Any) -> None:
        """Look at the size of the validation images; one that their data set does not have is not written."""
        if runner.val_loop is not None:
            divisor = getattr(unwrapped(runner.model).data_preprocessor, 'pad_size_divisor', 1)
            with suppress(InputError):
                self.size = items_size(runner.val_loop.dataloader.dataset, divisor)

    def before_val_epoch(self, runner: Any) -> None:
        """Note where this validation stands; before it, since the CheckpointHook saves the best right after it."""
        earlier = runner.message_hub.runtime_info.get(VALIDATED, [])
        runner.message_hub.update_info(VALIDATED, [*earlier, runner.iter])

    def before_save_checkpoint(self, runner: Any, checkpoint: Checkpoint) -> None:
        broken = not_finite(checkpoint['state_dict'])
        if broken:
            raise InputError(
                f'training diverged: {listed(broken, 1)} became NaN or infinite; nothing '
                f'was overwritten in {runner.work_dir}; lower the learning rate and use --resume'
            )
        hub = checkpoint['message_hub']
        curves = {
            key: {name: torch.tensor(data, dtype=torch.float64) for name, data in zip(CURVE, buffer.data, strict=True)}
            for key, buffer in hub['log_scalars'].items()
        }
        info = {key: plain(value) for key, value in hub['runtime_info'].items() if key not in TOLD_ANEW}
        resumed = {key: bool(keep) for key, keep in hub['resumed_keys'].items() if key in curves or key in info}
        checkpoint['message_hub'] = dict(curves=curves, runtime_info=info, resumed_keys=resumed)
        checkpoint['meta'] = plain(checkpoint['meta'])
        checkpoint['meta'][DATA] = data_facts(runner)
        if runner.cfg.get('model'):
            checkpoint['meta'] |= Origin.of_run(runner.cfg.to_dict(), runner.cfg.filename).as_meta()
            measured = info.get(VALIDATED, [])[-1:] == [runner.iter]
            metrics = last_metrics(runner.message_hub) if measured else {}
            checkpoint['meta'][KEY] |= dict(size=self.size and list(self.size), metrics=metrics)
        schedulers = checkpoint.get('param_schedulers', [])
        for states in schedulers.values() if isinstance(schedulers, dict) else [schedulers]:
            states[:] = [{key: value for key, value in state.items() if not callable(value)} for state in states]

    def after_train(self, runner: Any) -> None:
        """Note the last validation in the checkpoint that was saved before it, of the same iteration."""
        if is_main_process() and runner.message_hub.runtime_info.get(VALIDATED, [])[-1:] == [runner.iter]:
            path = latest_checkpoint(runner.work_dir)
            content = {} if path is None else read_checkpoint(path)
            meta = content.get('meta') or {}
            if KEY in meta and meta.get('iter') == runner.iter and not meta[KEY].get('metrics'):
                meta[KEY]['metrics'] = last_metrics(runner.message_hub)
                write_checkpoint(content, str(path))

    def after_load_checkpoint(self, runner: Any, checkpoint: Checkpoint) -> None:
        hub = checkpoint.get('message_hub')
        if hub is not None and 'curves' in hub:
            curves = hub.pop('curves').items()
            hub['log_scalars'] = {
                key: HistoryBuffer(*(curve[name].tolist() for name in CURVE)) for key, curve in curves
            }
