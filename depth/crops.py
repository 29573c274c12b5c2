"""Which part of a ground-truth image is scored: the two crops in use, and none."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

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
