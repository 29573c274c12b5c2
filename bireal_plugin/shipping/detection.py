"""``Detector``: boxes in image files by an mmdet detector, through mmdet's own inference and visualizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from bireal_plugin.data.image_file import read_rgb
from bireal_plugin.errors import InputError, require
from bireal_plugin.training.config import dataset_of
from bireal_plugin.whole_file import whole


@dataclass(frozen=True)
class Box:
    """An object: its corners ``(x0, y0, x1, y1)`` in px, its class and the class's name, and the score in 0..1."""

    corners: tuple[float, float, float, float]
    index: int
    name: str | None
    score: float

    def __str__(self) -> str:
        corners = ' '.join(f'{value:.0f}' for value in self.corners)
        return f'{self.score:6.1%}  {self.name or f"class {self.index}"}  {corners}'


class Detector:
    """Image file to boxes.

    Args:
        model: an mmdet detector in evaluation mode. config: its ordinary config, whose test pipeline reads images.
        meta: ``classes`` and ``palette``, as a checkpoint's ``dataset_meta``; if empty, the config's dataset tells.

    Attributes:
        classes: names of the classes, at first those of ``meta``; None where they are not known.

    Raises:
        InputError: mmdet is not installed, or the model is no detector.
    """

    def __init__(self, model: nn.Module, config: Config, meta: Mapping[str, Any]) -> None:
        require('mmdet', 'mmcv', engine='det')
        from mmdet.apis import inference_detector
        from mmdet.models.detectors import BaseDetector
        from mmdet.visualization import DetLocalVisualizer

        if not isinstance(model, BaseDetector):
            raise InputError(f'{config.filename}: a {type(model).__name__} is no detector of mmdet')
        self.scope = config.get('default_scope') or 'mmdet'
        model.cfg = config
        self.model, self.infer = model, inference_detector
        with DefaultScope.overwrite_default_scope(self.scope):
            self.meta = dict(meta or _metainfo(config))
            self.visualizer = DetLocalVisualizer()
        self.classes: Sequence[str] | None = self.meta.get('classes') or None

    def __call__(self, path: Path, *, threshold: float, drawing: Path | None = None) -> list[Box]:
        """Boxes with a score of at least ``threshold``, best first; with ``drawing`` also a picture of them.

        Raises:
            InputError: the image cannot be read.
        """
        image = np.asarray(read_rgb(path))
        with DefaultScope.overwrite_default_scope(self.scope):
            sample = self.infer(self.model, np.ascontiguousarray(image[..., ::-1]))  # mmdet's pipelines take BGR
        if drawing is not None:
            self.visualizer.dataset_meta = {**self.meta, 'classes': self.classes}
            with whole(drawing) as partial:
                self.visualizer.add_datasample(
                    path.name, image, sample, draw_gt=False, pred_score_thr=threshold, out_file=str(partial)
                )
        found = sample.pred_instances.numpy()
        names = dict(enumerate(self.classes or ()))
        columns = (found[key].tolist() for key in ('bboxes', 'labels', 'scores'))
        boxes = [
            Box(tuple(corners), label, names.get(label), score)
            for corners, label, score in zip(*columns, strict=True)
            if score >= threshold
        ]
        return sorted(boxes, key=lambda box: -box.score)


def _metainfo(config: Config) -> dict[str, Any]:
    """Classes and palette of the config's test data: its own ``metainfo``, else those of the dataset's class."""
    dataset = dataset_of(config)
    with DATASETS.switch_scope_and_registry(None) as registry:  # of the default scope
        kind = registry.get(str(dataset.get('type')))
    return {**dict(getattr(kind, 'METAINFO', {})), **dict(dataset.get('metainfo') or {})}
