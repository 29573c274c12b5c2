"""Sources of an evaluation's predictions: files, block matching, or a network. All give depth in m.

Each is a function of a ``Case`` and the truth's size (H, W) that returns depth (H, W) float32 in m at
this size, infinite where nothing is predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from bireal_plugin.depth.evaluation.cases import Case
from bireal_plugin.depth.inference.predictor import Predictor, flip_averaged
from bireal_plugin.depth.maps import filled_at, read_depth_png, resized_depth, resized_disparity
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


PredictDepth = Callable[[Case, tuple[int, int]], np.ndarray]
Kind = Literal['disparity', 'depth']


@dataclass(frozen=True)
class Predictions:
    """Predictions to evaluate.

    Attributes:
        name: in tables.
        depth: function of a case and the truth's size (H, W).
        needs_camera: whether the scale comes from the case's camera.
    """

    name: str
    depth: PredictDepth
    needs_camera: bool = True


def by_function(name: str, disparity_of: Callable[[np.ndarray], np.ndarray]) -> Predictions:
    """Predictions by a function of the left image, RGB uint8 (h, w, 3), to its disparity (h, w) in px of w."""
    return Predictions(name, lambda case, size: _depth(case, disparity_of(case.left()), size))


def by_network(predictor: Predictor, *, flip: bool = False) -> Predictions:
    """Predictions by a network, with ``flip`` averaged with those of the mirror image."""
    name = f'{predictor.source} at {predictor.size[0]} x {predictor.size[1]}'
    if flip:
        return by_function(f'{name}, averaged with the mirror image', lambda image: flip_averaged(predictor, image)[0])
    return by_function(name, predictor)


def by_sgbm() -> Predictions:
    """Predictions by block matching of the pair; see ``sgbm_disparity``."""
    return Predictions(
        'SGBM on both images', lambda case, size: _depth(case, sgbm_disparity(case.left(), case.right()), size)
    )


def from_files(folder: Path, kind: Kind) -> Predictions:
    """Predictions in files, disparities or depths in m: ``.npy`` numbers, or 16-bit ``.png`` of the value x 256.

    A file holds (h, w) values, disparities in px of the width w; 0 or less (of depths also infinite) is none. It has
    one of the case's aliases as its name, ``_disparity`` or ``_depth`` behind it or not.

    Raises:
        InputError: no such folder; and for each prediction a file that is missing or holds anything else.
    """
    if not folder.is_dir():
        raise InputError(f'there is no folder {folder} with predictions')

    def depth(case: Case, size: tuple[int, int]) -> np.ndarray:
        values = _read_map(_find(folder, case, kind))
        depth = _depth(case, values, size) if kind == 'disparity' else resized_depth(values, size)
        return np.where(filled_at(values, size), depth, np.float32(np.inf))

    return Predictions(f'{kind} files in {folder}', depth, needs_camera=kind == 'disparity')


def _depth(case: Case, disparity: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return case.camera().depth(resized_disparity(disparity, size), width=size[1])


def _find(folder: Path, case: Case, kind: Kind) -> Path:
    candidates = [
        folder / f'{alias}{ending}{suffix}'
        for alias in case.aliases
        for ending in ('', f'_{kind}')
        for suffix in ('.npy', '.png')
    ]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise InputError(f'{folder} has no {kind} for {case.name}: there is no {candidates[0].name} or .png')
    return found


def _read_map(path: Path) -> np.ndarray:
    """(h, w) float32."""
    if path.suffix == '.png':
        return read_depth_png(path)
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f'{path} is no whole .npy file of numbers; write it with numpy.save') from error
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values.squeeze(0 if values.shape[0] == 1 else 2)
    if values.ndim != 2 or not values.size or values.dtype.kind not in 'fiu':
        raise InputError(f'{path} holds {values.dtype} of shape {values.shape}, not one number per pixel, (H, W)')
    if np.isnan(values).any():
        raise InputError(f'{path} has values that are no numbers (nan); write 0 where nothing is predicted')
    return values.astype(np.float32)
