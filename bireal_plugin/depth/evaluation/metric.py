"""Depth errors as an mmengine metric, for the validation and test loops of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.evaluation.metrics import (
    CAP,
    METRIC_NAMES,
    crop_mask,
    image_errors,
    scored_pixels,
)
from bireal_plugin.depth.maps import resized_disparity
from bireal_plugin.errors import InputError


@METRICS.register_module()
class DepthMetric(BaseMetric):
    """``depth/abs_rel`` to ``depth/delta3``: the errors of each image, then the mean over images.

    Takes batches with ``depth`` (N, H, W) true depth in m, 0 where there is none, ``focal`` (N,) in px of the network's
    input width and ``baseline`` (N,) in m, and predictions ``dict(disparity=(1, h, w))`` in px of the input width w.
    Disparities are resized to the truth's size. Images without a pixel to score are left out.
    """

    default_prefix = 'depth'

    def __init__(
        self,
        crop: str = 'garg',
        cap: float = CAP,
        *,
        median_scaling: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        crop_mask(crop, (1, 1))  # a wrong name is refused now and not after the first epoch
        self.crop = crop
        self.cap = cap
        self.median_scaling = median_scaling

    def process(self, data_batch: Mapping[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        missing = [key for key in ('depth', 'focal', 'baseline') if key not in data_batch]
        if missing:
            raise InputError(
                f'DepthMetric needs {", ".join(missing)} in each batch, and the validation data has none; '
                "give the dataset a ground truth (StereoPairs: truth='lidar')"
            )
        cameras = zip(data_batch['focal'], data_batch['baseline'], strict=True)
        for sample, depth, (focal, baseline) in zip(data_samples, data_batch['depth'], cameras, strict=True):
            truth = _array(depth)
            pixels = scored_pixels(truth, cap=self.cap, crop=self.crop)
            if not pixels.any():
                continue
            disparity = _array(sample['disparity'])[0]
            camera = Camera(float(focal), disparity.shape[1], float(baseline), source='the validation batch')
            prediction = camera.depth(resized_disparity(disparity, truth.shape), width=truth.shape[1])
            self.results.append(
                image_errors(truth, prediction, pixels, cap=self.cap, median_scaling=self.median_scaling)
            )

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        if not results:
            raise InputError(
                f'no validation image has a ground-truth pixel nearer than {self.cap:g} m inside the crop {self.crop!r}'
            )
        return {name: float(np.mean([errors[name] for errors in results])) for name in METRIC_NAMES}


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
