"""Cases of an evaluation, and the sources of predictions for them.

A case is an image with true depth and camera, of KITTI's raw recordings or of rendered streets. Predictions are files,
block matching, or a network: each a function of a ``Case`` and the truth's size (H, W) that returns depth (H, W)
float32 in m at this size, infinite where nothing is predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.inference.predictor import Predictor, flip_averaged
from bireal_plugin.depth.kitti.calibration import stereo_camera
from bireal_plugin.depth.kitti.ground_truth import TRUTHS, Truth, frames_with_truth, true_depth
from bireal_plugin.depth.kitti.raw import Frame, RawFolder, read_recorded
from bireal_plugin.depth.kitti.splits import Need, find_split
from bireal_plugin.depth.maps import filled_at, read_depth_png, resized_depth, resized_disparity
from bireal_plugin.depth.street.pairs import StreetPairs
from bireal_plugin.errors import InputError


@dataclass(frozen=True)
class Case:
    """One image to predict; its parts are read on demand.

    Attributes:
        name: unique among all cases; names the files written for it.
        aliases: accepted names of a file with its prediction, without suffix, below a folder; ``name`` comes first.
        left, right: images of one shape, RGB uint8 (H, W, 3).
        truth: true depth (H, W) of the left image in m, 0 where there is none.
        camera: of the left image.
    """

    name: str
    aliases: tuple[str, ...]
    left: Callable[[], np.ndarray]
    right: Callable[[], np.ndarray]
    truth: Callable[[], np.ndarray]
    camera: Callable[[], Camera]


@dataclass(frozen=True)
class CaseList:
    """Cases with one kind of ground truth.

    Attributes:
        ground_truth: its name in tables. crop: the usual crop of these images, a name of ``CROPS``.
        skipped: number of frames left out, by reason.
    """

    cases: Sequence[Case]
    ground_truth: str
    crop: str
    skipped: Mapping[str, int] = field(default_factory=dict)


def kitti_cases(
    raw: RawFolder, split: str, truth: Truth = 'lidar', *, need: Need = 'left', baseline: float | None = None
) -> CaseList:
    """Cases of the frames of a split that have ground truth; for ``split`` and ``need`` see ``find_split``.

    ``baseline`` in m, if given, takes the place of the calibration's.

    Raises:
        InputError: an unknown split, or one without a frame on disk or without ground truth.
    """
    chosen = find_split(split, raw, need=need)
    frames = frames_with_truth(raw, chosen.frames, truth)
    only_drive = len({frame.folder for frame in chosen.frames}) == 1
    return CaseList(
        [_kitti_case(raw, frame, truth, baseline, only_drive=only_drive) for frame in frames],
        TRUTHS[truth],
        'garg',
        {'without an image': len(chosen.incomplete), 'without ground truth': len(chosen.frames) - len(frames)},
    )


def _kitti_case(raw: RawFolder, frame: Frame, truth: Truth, baseline: float | None, *, only_drive: bool) -> Case:
    """Case of one frame; with ``only_drive`` all cases are of one drive, so that a bare index names one of them."""
    name = f'{frame.folder}_{frame.file}'
    inside = f'{frame.folder}/image_02/data/{frame.file}'
    whole = f'{frame.date}/{inside}'
    # The last two are as infer names its outputs.
    aliases = (name, f'{frame.folder}/{frame.file}', whole, whole.replace('/', '-'), inside.replace('/', '-'))

    def camera() -> Camera:
        found = stereo_camera(raw.calibration(frame.date), source=f'calibration {frame.date}')
        return _with_baseline(found, baseline)

    return Case(
        name,
        (*aliases, frame.file) if only_drive else aliases,
        left=lambda: read_recorded(raw.image(frame, 'left')),
        right=lambda: read_recorded(raw.image(frame, 'right')),
        truth=lambda: true_depth(raw, frame, truth),
        camera=camera,
    )


def street_cases(
    count: int, size: Sequence[int] = (96, 320), *, seed: int = 0, baseline: float | None = None
) -> CaseList:
    """Cases of the first ``count`` rendered streets of the test split of ``seed``, in images of ``size`` (H, W).

    ``baseline`` in m, if given, takes the place of the renderer's.
    """
    streets = StreetPairs('test', count, (size[0], size[1]), seed)
    cases = [_street_case(streets, index, baseline) for index in range(count)]
    return CaseList(cases, 'exact depth of rendered streets', 'none')


def _street_case(streets: StreetPairs, index: int, baseline: float | None) -> Case:
    name = f'street_{index:06d}'
    return Case(
        name,
        (name,),
        left=lambda: streets.scene(index).left,
        right=lambda: streets.scene(index).right,
        truth=lambda: streets.scene(index).depth_left,
        camera=lambda: _with_baseline(replace(streets.scene(index).camera, source='the renderer'), baseline),
    )


def _with_baseline(camera: Camera, baseline: float | None) -> Camera:
    return camera if baseline is None else replace(camera, baseline=baseline, source='--baseline')


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


def by_network(predictor: Predictor, *, flip: bool = False) -> Predictions:
    """Predictions by a network, with ``flip`` averaged with those of the mirror image."""
    name = f'{predictor.source} at {predictor.size[0]} x {predictor.size[1]}'
    if not flip:
        return Predictions(name, lambda case, size: _depth(case, predictor(case.left()), size))
    return Predictions(
        f'{name}, averaged with the mirror image',
        lambda case, size: _depth(case, flip_averaged(predictor, case.left())[0], size),
    )


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
