"""Weights in the order in which the C kernels read them: blocks of 16 output channels, one block after the other."""

from __future__ import annotations

import numpy as np
from torch import Tensor

BLOCK = 16  # BR_BLOCK
WORD = 32  # BR_WORD


def binary_weights(packed_weight: Tensor, channels: int, groups: int) -> np.ndarray:
    """Packed signs as uint32 ``(groups, ceil(O / 16), kH, kW, words, 16)``, O output channels of a group.

    Args:
        packed_weight: as ``pack_signs`` gives it. channels: of the whole input.
    """
    packed = packed_weight.cpu().numpy()
    words = -(-(channels // groups) // WORD)
    packed = np.pad(packed, ((0, 0), (0, 0), (0, 0), (0, 4 * words - packed.shape[3])))
    return _blocked(np.ascontiguousarray(packed).view('<u4'), groups)


def real_weights(weight: Tensor, groups: int) -> np.ndarray:
    """A weight ``(O, I, kH, kW)`` or ``(O, I)`` as float32 ``(groups, ceil(O / 16), kH, kW, I, 16)``."""
    values = weight.detach().cpu().float().numpy()
    values = values.reshape(*values.shape[:2], *(values.shape[2:] or (1, 1)))
    return _blocked(values.transpose(0, 2, 3, 1), groups)


def _blocked(values: np.ndarray, groups: int) -> np.ndarray:
    """(groups * O, kH, kW, I) as (groups, blocks, kH, kW, I, 16); missing output channels are 0."""
    values = values.reshape(groups, -1, *values.shape[1:])
    values = np.pad(values, ((0, 0), (0, -values.shape[1] % BLOCK), *[(0, 0)] * 3))
    values = values.reshape(groups, -1, BLOCK, *values.shape[2:])
    return np.ascontiguousarray(np.moveaxis(values, 2, -1))
