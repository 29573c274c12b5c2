"""Camera of a rectified stereo pair: focal length and baseline, which turn disparity into metres."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from bireal_plugin.errors import InputError

Disparity = TypeVar('Disparity', float, np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class Camera:
    """Left camera of a rectified pair.

    Attributes:
        focal: focal length in px of images ``width`` px wide.
        width: image width in px that ``focal`` (and ``cx``) belongs to.
        baseline: distance to the right camera in m.
        cx, cy: principal point in px at that width; None where nothing is known about it.
        source: origin of the numbers, as reports name it: 'calibration 2011_09_26', '--focal and --baseline'.

    Raises:
        InputError: a focal length, width or baseline that is not a positive finite number.
    """

    focal: float
    width: int
    baseline: float
    cx: float | None = None
    cy: float | None = None
    source: str = 'unknown'

    def __post_init__(self) -> None:
        for name, value in (('focal length', self.focal), ('image width', self.width), ('baseline', self.baseline)):
            if not (math.isfinite(value) and value > 0):
                raise InputError(f'the {name} of a camera ({self.source}) must be a positive number, not {value}')

    def focal_at(self, width: int) -> float:
        """Focal length in px of the same image resized to ``width`` px."""
        return self.focal * width / self.width

    def depth(self, disparity: Disparity, *, width: int) -> Disparity:
        """Depth in m, focal x baseline / disparity, of a disparity in px of images ``width`` px wide.

        The shape and type are those of the disparity. Where it is not above 0 nothing was matched: depth is inf there,
        and NaN stays NaN.
        """
        scale = self.focal_at(width) * self.baseline
        if isinstance(disparity, torch.Tensor):
            return torch.where(disparity <= 0, torch.full_like(disparity, torch.inf), scale / disparity)
        if isinstance(disparity, np.ndarray):
            if not np.issubdtype(disparity.dtype, np.floating):
                disparity = disparity.astype(np.float32)
            depth = np.full_like(disparity, np.inf)
            np.divide(scale, disparity, out=depth, where=~(disparity <= 0))
            return depth
        return math.inf if disparity <= 0 else scale / disparity
