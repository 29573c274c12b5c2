"""Cases of an evaluation, and the sources of predictions for them.

A case is an image with true depth and camera, of KITTI's raw recordings or of rendered streets. Predictions are files,
block matching, or a network: each a function of a ``Case`` and the truth's size (H, W) that returns depth (H, W)
float32 in m at this size, infinite where nothing is predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import methodcaller
from typing import Literal

import cv2
import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.inference.predictor import Predictor, flip_averaged
from bireal_plugin.depth.kitti.calibration import stereo_camera
from bireal_plugin.depth.kitti.ground_truth import TRUTHS, Truth, frames_with_truth, true_depth
from bireal_plugin.depth.kitti.raw import Frame, RawFolder, read_recorded
from bireal_plugin.depth.kitti.splits import Need, find_split
from bireal_plugin.depth.maps import resized_disparity
from bireal_plugin.depth.street.pairs import StreetPairs
from bireal_plugin.errors import InputError
from bireal_plugin.progress import progress


@dataclass(frozen=True)
class Case:
    """One image to predict; its parts are read on demand."""

    name: str  # unique among all cases; names the files written for it
    index: int  # place in the list of all frames, those without ground truth too
    aliases: tuple[str, ...]  # names of a file with its prediction, without suffix, below a folder; name comes first
    left: Callable[[], np.ndarray]  # RGB uint8 (H, W, 3), of one shape with the right one
    right: Callable[[], np.ndarray]
    truth: Callable[[], np.ndarray]  # true depth (H, W) of the left image in m, 0 where there is none
    camera: Callable[[], Camera]  # of the left image


@dataclass(frozen=True)
class CaseList:
    """Cases with one kind of ground truth."""

    cases: Sequence[Case]
    total: int  # number of all frames, those without ground truth too
    ground_truth: str  # its name in tables
    crop: str  # the usual one of these images, a name of CROPS
    skipped: Mapping[str, int] = field(default_factory=dict)  # number of frames left out, by reason


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
    places = {frame: index for index, frame in reversed([*enumerate(chosen.listed)])}

    def case(frame: Frame) -> Case:
        name = f'{frame.folder}_{frame.file}'
        inside = f'{frame.folder}/image_02/data/{frame.file}'
        whole = f'{frame.date}/{inside}'
        # The last two are as infer names its outputs; among the cases of one drive a bare index names one, too.
        aliases = (name, f'{frame.folder}/{frame.file}', whole, whole.replace('/', '-'), inside.replace('/', '-'))
        source = f'calibration {frame.date}'
        return Case(
            name,
            places[frame],
            (*aliases, frame.file) if only_drive else aliases,
            left=lambda: read_recorded(raw.image(frame, 'left')),
            right=lambda: read_recorded(raw.image(frame, 'right')),
            truth=lambda: true_depth(raw, frame, truth),
            camera=lambda: _with_baseline(stereo_camera(raw.calibration(frame.date), source=source), baseline),
        )

    skipped = {'without an image': len(chosen.incomplete), 'without ground truth': len(chosen.frames) - len(frames)}
    return CaseList([case(frame) for frame in frames], len(chosen.listed), TRUTHS[truth], 'garg', skipped)


def street_cases(
    count: int, size: Sequence[int] = (96, 320), *, seed: int = 0, baseline: float | None = None
) -> CaseList:
    """Cases of the first ``count`` rendered streets of the test split of ``seed``, in images of ``size`` (H, W).

    ``baseline`` in m, if given, takes the place of the renderer's.
    """
    streets = StreetPairs('test', count, (size[0], size[1]), seed)

    def case(index: int) -> Case:
        name = f'street_{index:06d}'
        return Case(
            name,
            index,
            (name,),
            left=lambda: streets.scene(index).left,
            right=lambda: streets.scene(index).right,
            truth=lambda: streets.scene(index).depth_left,
            camera=lambda: _with_baseline(replace(streets.scene(index).camera, source='the renderer'), baseline),
        )

    return CaseList([case(index) for index in range(count)], count, 'exact depth of rendered streets', 'none')


def _with_baseline(camera: Camera, baseline: float | None) -> Camera:
    return camera if baseline is None else replace(camera, baseline=baseline, source='--baseline')


KITTI_WIDTH = 1242
MEAN_SIZE = (128, 416)
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


Kind = Literal['disparity', 'depth']
OWN_CAMERA: Callable[[Case], Camera] = methodcaller('camera')


@dataclass(frozen=True)
class Predictions:
    """Predictions to evaluate."""

    name: str  # in tables
    depth: Callable[[Case, tuple[int, int]], np.ndarray]  # of a case and the truth's size (H, W)
    camera: Callable[[Case], Camera] | None  # that the scale comes from; None where predictions are depths
    notes: list[str] = field(default_factory=list)  # so far, on what was found out by the look of the predictions


def by_network(predictor: Predictor, *, flip: bool = False, own_baseline: bool = False) -> Predictions:
    """Predictions by a network, with ``flip`` averaged with those of the mirror image.

    Its disparities have the baseline of its training; with ``own_baseline`` the case's camera is taken as it is.
    """
    name = f'{predictor.source} at {predictor.size[0]} x {predictor.size[1]}'

    def camera(case: Case) -> Camera:
        return case.camera() if own_baseline else predictor.camera(case.camera())

    def depth(case: Case, size: tuple[int, int]) -> np.ndarray:
        disparity = flip_averaged(predictor, case.left())[0] if flip else predictor(case.left())
        return metric_depth(camera(case), disparity, size)

    return Predictions(f'{name}, averaged with the mirror image' if flip else name, depth, camera)


def by_sgbm() -> Predictions:
    """Predictions by block matching of the pair; see ``sgbm_disparity``."""

    def depth(case: Case, size: tuple[int, int]) -> np.ndarray:
        return metric_depth(case.camera(), sgbm_disparity(case.left(), case.right()), size)

    return Predictions('SGBM on both images', depth, OWN_CAMERA)


def by_mean(raw: RawFolder, size: Sequence[int] = MEAN_SIZE) -> Predictions:
    """The same map for every image: what block matching sees on average over the pairs of ``raw``.

    What a network has to be better than. At each pixel of ``size`` (H, W) it is the mean, over the pairs that match
    there, of disparity in shares of the width, which is disparity of one rig where the pairs are of one.

    Raises:
        InputError: no pairs.
    """
    height, width = size
    total, count = np.zeros((height, width)), np.zeros((height, width))
    frames = find_split('all', raw).frames
    for frame in progress(frames, unit='pair'):
        disparity = sgbm_disparity(read_recorded(raw.image(frame, 'left')), read_recorded(raw.image(frame, 'right')))
        share = cv2.resize(disparity / disparity.shape[1], (width, height), interpolation=cv2.INTER_NEAREST)
        total += share
        count += share > 0
    known = count > 0
    mean = np.where(known, total / np.maximum(count, 1), 0)
    for row in range(height):  # rows differ by the road's slope: what nothing matched is like the rest of its row
        mean[row, ~known[row]] = mean[row, known[row]].mean() if known[row].any() else mean[known].min()
    disparity = (mean * width).astype(np.float32)
    name = f'mean disparity of {len(frames)} pairs of {raw.root}'
    return Predictions(name, lambda case, size: metric_depth(case.camera(), disparity, size), OWN_CAMERA)


def metric_depth(camera: Camera, disparity: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return camera.for_image(size).depth(resized_disparity(disparity, size), width=size[1])
