"""Test of a pair's order: whether the left image was taken left of the right one."""

from __future__ import annotations

import cv2
import numpy as np

WIDTH = 320
LARGEST_SHIFT = 48
"""In px at ``WIDTH``: an object 1.3 m in front of KITTI's cameras."""
WINDOW = 11
BORDER = 8
LEAST_VOTES = 200


def right_order(left: np.ndarray, right: np.ndarray) -> float | None:
    """Share of textured pixels whose match lies where a right camera sees it, x_right = x_left - d with d > 0.

    Each pixel compares windows (sum of absolute differences, brightness removed) at shifts in both directions, and
    votes if a shift fits clearly better than none. Near 1 the order is right, near 0 the images are swapped.

    Args:
        left, right: ``(H, W, 3)`` uint8 RGB of one size.

    Returns:
        The share, or None where fewer than 200 pixels of the 320 px wide pair vote: nothing near enough is in sight.
    """
    left_grey, right_grey = _prepared(left), _prepared(right)
    cost = {shift: _cost(left_grey, right_grey, shift) for shift in range(-LARGEST_SHIFT, LARGEST_SHIFT + 1)}
    still = np.minimum.reduce([cost[shift] for shift in (-1, 0, 1)])
    forwards = np.minimum.reduce([cost[shift] for shift in range(2, LARGEST_SHIFT + 1)])
    backwards = np.minimum.reduce([cost[-shift] for shift in range(2, LARGEST_SHIFT + 1)])
    texture = cv2.blur(np.abs(cv2.Sobel(left_grey, cv2.CV_32F, 1, 0)), (WINDOW, WINDOW))
    voters = (texture > np.median(texture)) & (still > 1.2 * np.minimum(forwards, backwards))
    inner = np.zeros_like(voters)
    inner[BORDER:-BORDER, LARGEST_SHIFT + BORDER : -LARGEST_SHIFT - BORDER] = True
    voters &= inner
    if voters.sum() < LEAST_VOTES:
        return None
    return float((forwards < backwards)[voters].mean())


def _prepared(image: np.ndarray) -> np.ndarray:
    """Grey, ``WIDTH`` px wide, without the local mean: the cameras' gains differ."""
    height = max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (WIDTH, height), interpolation=cv2.INTER_AREA)
    grey = grey.astype(np.float32)
    return grey - cv2.blur(grey, (31, 31))


def _cost(left: np.ndarray, right: np.ndarray, shift: int) -> np.ndarray:
    """Mean absolute difference ``(H, W)`` of left at x and right at x - shift, over a window."""
    shifted = np.full_like(right, 255)
    if shift > 0:
        shifted[:, shift:] = right[:, :-shift]
    elif shift < 0:
        shifted[:, :shift] = right[:, -shift:]
    else:
        shifted = right
    return cv2.blur(np.abs(left - shifted), (WINDOW, WINDOW))
