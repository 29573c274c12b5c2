"""Depth errors by the definitions of the literature: of arrays of pixels, of one image, and as an mmengine metric.

Eigen et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network" (2014), for the seven metrics
and the scale-invariant error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from bireal_plugin.depth.camera import Camera, TrainedOn
from bireal_plugin.depth.maps import resized_disparity
from bireal_plugin.errors import InputError

# Rows from, rows to, columns from, columns to, as shares of height and width. Garg's are the exact fractions of the
# mask of 370 x 1224 that came with the paper. Evaluation code in use writes them with eight decimals, 0.40810811,
# 0.99189189, 0.03594771 and 0.96405229, which the cut to integers turns into one row less where images are 370 high
# and one column more where they are 1224 wide; at the other KITTI sizes both agree. Eigen's exist as decimals only.
CROPS: dict[str, tuple[Fraction | float, ...]] = {
    'garg': (Fraction(151, 370), Fraction(367, 370), Fraction(44, 1224), Fraction(1180, 1224)),
    'eigen': (0.3324324, 0.91351351, 0.0359477, 0.96405229),
    'none': (0.0, 1.0, 0.0, 1.0),
}


def crop_mask(name: str, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool, true inside the crop called ``name`` of an image of ``size`` (H, W); bounds are cut to integers.

    Raises:
        InputError: if there is no crop of that name.
    """
    if name not in CROPS:
        raise InputError(f'unknown crop {name!r}; there are: {", ".join(CROPS)}')
    top, bottom, left, right = CROPS[name]
    height, width = size
    mask = np.zeros(size, dtype=bool)
    mask[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
    return mask


NEAREST = 1e-3  # m; truth at or below it is no truth, predictions below it are raised to it
CAP = 80.0  # m

METRIC_NAMES = ('abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'log10', 'silog', 'delta1', 'delta2', 'delta3')


def depth_errors(
    truth: np.ndarray, prediction: np.ndarray, *, cap: float = CAP, nearest: float = NEAREST
) -> dict[str, float]:
    """Errors of predicted depths in m against true ones, both (N,), over all N pixels given.

    Predictions are clamped to [nearest, cap] first; the truth is taken as it is. With p predicted and t true depth::

        abs_rel  mean |p - t| / t                rmse      sqrt mean (p - t)^2              [m]
        sq_rel   mean (p - t)^2 / t    [m]       rmse_log  sqrt mean (ln p - ln t)^2
        log10    mean |log10 p - log10 t|        silog     100 sqrt var (ln p - ln t)
        delta_k  share of pixels with max(p / t, t / p) < 1.25^k

    A prediction that is not a number makes every error nan and is right in no delta.

    Raises:
        InputError: if there is no pixel.
    """
    if truth.size == 0:
        raise InputError('depth errors need at least one pixel with ground truth, and there is none')
    truth = truth.astype(np.float64)
    prediction = np.clip(prediction.astype(np.float64), nearest, cap)
    difference = prediction - truth
    log_ratio = np.log(prediction) - np.log(truth)
    worse = np.maximum(prediction / truth, truth / prediction)
    errors = {
        'abs_rel': np.mean(np.abs(difference) / truth),
        'sq_rel': np.mean(difference**2 / truth),
        'rmse': np.sqrt(np.mean(difference**2)),
        'rmse_log': np.sqrt(np.mean(log_ratio**2)),
        'log10': np.mean(np.abs(log_ratio)) / np.log(10),
        'silog': 100 * np.std(log_ratio),
        **{f'delta{k}': np.mean(worse < 1.25**k) for k in (1, 2, 3)},
    }
    return {name: float(value) for name, value in errors.items()}


def scored_pixels(truth: np.ndarray, *, cap: float = CAP, crop: str = 'garg') -> np.ndarray:
    """(H, W) bool: where ``truth`` (H, W) in m, 0 for none, lies between 1e-3 m and ``cap`` and inside the crop."""
    return (truth > NEAREST) & (truth < cap) & crop_mask(crop, truth.shape)


def image_errors(
    truth: np.ndarray, prediction: np.ndarray, pixels: np.ndarray, *, cap: float = CAP, median_scaling: bool = False
) -> dict[str, float]:
    """Errors of one image: ``truth`` and ``prediction`` (H, W) in m over the ``pixels`` (H, W) bool to score.

    ``median_scaling`` first multiplies the prediction by median(truth) / median(prediction), for networks that were
    trained without a scale; it comes before the clamp.

    Raises:
        InputError: there is no pixel to score, or the median prediction to scale by is not positive and finite.
    """
    wanted, found = truth[pixels], prediction[pixels]
    if median_scaling and wanted.size:
        middle = float(np.median(found))
        if not 0 < middle < np.inf:
            raise InputError(f'median scaling needs predictions, and their median is {middle:g} m')
        found = found * (np.median(wanted) / middle)
    return depth_errors(wanted, found, cap=cap)


@METRICS.register_module()
class DepthMetric(BaseMetric):
    """``depth/abs_rel`` to ``depth/delta3``: the errors of each image, then the mean over images.

    Takes batches with ``depth`` (N, H, W) true depth in m, 0 where there is none, ``focal`` (N,) in px of the network's
    input width and ``baseline`` (N,) in m, and predictions ``dict(disparity=(1, h, w))`` in px of the input width w.
    Disparities are resized to the truth's size. Images without a pixel to score are left out. Where ``trained_on`` is
    known, as ``TrainingPairsHook`` sets it, metres have the baseline of training and not of the image's own rig.
    """

    default_prefix = 'depth'
    trained_on: TrainedOn | None = None

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
        self.crop, self.cap, self.median_scaling = crop, cap, median_scaling
        self.names = tuple(f'{self.prefix}/{name}' for name in METRIC_NAMES)

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
            camera = camera if self.trained_on is None else self.trained_on.seen_by(camera)
            prediction = camera.depth(resized_disparity(disparity, truth.shape), width=truth.shape[1])
            errors = image_errors(truth, prediction, pixels, cap=self.cap, median_scaling=self.median_scaling)
            self.results.append(errors)

    def compute_metrics(self, results: list[dict[str, float]]) -> dict[str, float]:
        if not results:
            raise InputError(
                f'no validation image has a ground-truth pixel nearer than {self.cap:g} m inside the crop {self.crop!r}'
            )
        return {name: float(np.mean([errors[name] for errors in results])) for name in METRIC_NAMES}


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
