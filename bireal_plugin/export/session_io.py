"""What a session takes: a float32 batch (N, C, H, W) that fits the shape its file declares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from bireal_plugin.errors import InputError


def as_input(batch: Tensor | np.ndarray, declared: Sequence[int | str]) -> np.ndarray:
    """``batch`` as a contiguous float32 array.

    Args:
        declared: size of each axis, or its name where any positive size will do.

    Raises:
        InputError: another number of axes, or a size that the file does not take.
    """
    array = batch.detach().cpu().numpy() if isinstance(batch, Tensor) else np.asarray(batch)
    fits = array.ndim == len(declared) and all(
        size == wanted if isinstance(wanted, int) else size > 0
        for size, wanted in zip(array.shape, declared, strict=True)
    )
    if not fits or array.dtype.kind not in 'fiu':
        wanted = ', '.join(map(str, declared))
        raise InputError(f'the network takes numbers of shape ({wanted}), not {array.dtype} of shape {array.shape}')
    return np.ascontiguousarray(array, dtype=np.float32)


def last_line(error: Exception) -> str:
    """The last line of what an engine says, which names the reason."""
    return str(error).strip().splitlines()[-1]
