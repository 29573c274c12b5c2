"""How far a network can be trusted, from the image and its mirror image: what both say is likelier to be so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def flip_averaged(predict: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the disparities of an image and of its mirror image, mirrored back; and the confidence in it.

    Args:
        predict: image ``(H, W, 3)`` to disparity ``(H, W)`` in px.

    Returns:
        The disparity ``(H, W)``; and ``1 - |a - b| / max(a, b)`` of the two disparities, ``(H, W)`` from 0 to 1, which
        is 0 where one of them is not positive.
    """
    straight = predict(image)
    mirrored = predict(np.ascontiguousarray(image[:, ::-1]))[:, ::-1]
    larger, smaller = np.maximum(straight, mirrored), np.minimum(straight, mirrored)
    # 1 - |a - b| / max(a, b) = min(a, b) / max(a, b)
    confidence = np.divide(smaller, larger, out=np.zeros_like(larger), where=smaller > 0)
    return (straight + mirrored) / 2, confidence
