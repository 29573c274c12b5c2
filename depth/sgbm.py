"""Semi-global block matching of a stereo pair: the baseline without learning, and it sees both images.

Hirschmueller, "Stereo Processing by Semiglobal Matching and Mutual Information" (2008), as OpenCV has it.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from bireal_plugin.errors import InputError

KITTI_WIDTH = 1242
KITTI_RANGE = 128  # px; 3 m with KITTI's cameras


def sgbm_disparity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Disparity (H, W) float32 in px of the left image of a pair, RGB uint8 (H, W, 3); 0 where nothing matches.

    The search range is 128 px at KITTI's width and in proportion at others, in the steps of 16 px that OpenCV takes.

    Raises:
        InputError: the images differ in size.
    """
    if left.shape != right.shape:
        raise InputError(f'the images of a stereo pair have one size, not {left.shape[:2]} and {right.shape[:2]}')
    matcher = cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=16 * math.ceil(KITTI_RANGE * left.shape[1] / KITTI_WIDTH / 16),
        blockSize=5,
        P1=600,
        P2=2400,
        disp12MaxDiff=1,
        uniquenessRatio=10,
        speckleWindowSize=100,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )
    sixteenths = matcher.compute(cv2.cvtColor(left, cv2.COLOR_RGB2BGR), cv2.cvtColor(right, cv2.COLOR_RGB2BGR))
    return np.maximum(sixteenths.astype(np.float32) / 16, 0)
