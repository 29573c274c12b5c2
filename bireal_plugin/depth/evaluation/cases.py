"""Cases of an evaluation: images with true depth and camera, of KITTI's raw recordings or of rendered streets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.kitti.calibration import stereo_camera
from bireal_plugin.depth.kitti.ground_truth import TRUTHS, Truth, frames_with_truth, true_depth
from bireal_plugin.depth.kitti.raw import Frame, RawFolder, read_recorded
from bireal_plugin.depth.kitti.splits import Need, find_split
from bireal_plugin.depth.street.pairs import StreetPairs
from bireal_plugin.depth.street.scene import Scene


class Case(Protocol):
    """One image to predict; its parts are read on demand."""

    @property
    def name(self) -> str:
        """Unique among all cases; names the files written for it."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Accepted names of a file with its prediction, without suffix, below a folder; ``name`` comes first."""

    def left(self) -> np.ndarray:
        """Left image, RGB uint8 (H, W, 3)."""

    def right(self) -> np.ndarray:
        """Right image of the same shape."""

    def truth(self) -> np.ndarray:
        """True depth (H, W) of the left image in m, 0 where there is none."""

    def camera(self) -> Camera:
        """Camera of the left image."""


@dataclass(frozen=True)
class KittiCase:
    """A frame of the raw recordings. ``baseline`` in m, if given, takes the place of the calibration's."""

    raw: RawFolder
    frame: Frame
    kind: Truth = 'lidar'
    baseline: float | None = None
    only_drive: bool = False
    """Whether all cases are of one drive, so that a bare index names one of them."""

    @property
    def name(self) -> str:
        return f'{self.frame.folder}_{self.frame.file}'

    @property
    def aliases(self) -> tuple[str, ...]:
        inside = f'{self.frame.folder}/image_02/data/{self.frame.file}'
        whole = f'{self.frame.date}/{inside}'
        names = [self.name, f'{self.frame.folder}/{self.frame.file}', whole]
        names += [path.replace('/', '-') for path in (whole, inside)]  # as infer names its outputs
        return (*names, self.frame.file) if self.only_drive else tuple(names)

    def left(self) -> np.ndarray:
        return read_recorded(self.raw.image(self.frame, 'left'))

    def right(self) -> np.ndarray:
        return read_recorded(self.raw.image(self.frame, 'right'))

    def truth(self) -> np.ndarray:
        return true_depth(self.raw, self.frame, self.kind)

    def camera(self) -> Camera:
        date = self.frame.date
        camera = stereo_camera(self.raw.calibration(date), source=f'calibration {date}')
        return _with_baseline(camera, self.baseline)


@dataclass(frozen=True)
class StreetCase:
    """A rendered street of a dataset. ``baseline`` in m, if given, takes the place of the renderer's."""

    streets: StreetPairs
    index: int
    baseline: float | None = None

    @property
    def name(self) -> str:
        return f'street_{self.index:06d}'

    @property
    def aliases(self) -> tuple[str, ...]:
        return (self.name,)

    def left(self) -> np.ndarray:
        return self._scene.left

    def right(self) -> np.ndarray:
        return self._scene.right

    def truth(self) -> np.ndarray:
        return self._scene.depth_left

    def camera(self) -> Camera:
        return _with_baseline(replace(self._scene.camera, source='the renderer'), self.baseline)

    @property
    def _scene(self) -> Scene:
        return self.streets.scene(self.index)


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
    """Cases of the frames of a split that have ground truth; for the arguments see ``find_split``.

    Raises:
        InputError: an unknown split, or one without a frame on disk or without ground truth.
    """
    chosen = find_split(split, raw, need=need)
    frames = frames_with_truth(raw, chosen.frames, truth)
    only_drive = len({frame.folder for frame in chosen.frames}) == 1
    return CaseList(
        [KittiCase(raw, frame, truth, baseline, only_drive) for frame in frames],
        TRUTHS[truth],
        'garg',
        {'without an image': len(chosen.incomplete), 'without ground truth': len(chosen.frames) - len(frames)},
    )


def street_cases(
    count: int, size: Sequence[int] = (96, 320), *, seed: int = 0, baseline: float | None = None
) -> CaseList:
    """Cases of the first ``count`` rendered streets of the test split of ``seed``, in images of ``size`` (H, W)."""
    streets = StreetPairs('test', count, (size[0], size[1]), seed)
    cases = [StreetCase(streets, index, baseline) for index in range(count)]
    return CaseList(cases, 'exact depth of rendered streets', 'none')


def _with_baseline(camera: Camera, baseline: float | None) -> Camera:
    return camera if baseline is None else replace(camera, baseline=baseline, source='--baseline')
