"""Camera of a rectified stereo pair: focal length and baseline, which turn disparity into metres."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from bireal_plugin.errors import InputError

Disparity = TypeVar('Disparity', float, np.ndarray, torch.Tensor)
Place = Literal['bottom', 'centre']
Cropped = Place | Literal['no']
PLACES: tuple[Place, ...] = ('bottom', 'centre')
# The crop that KITTI's depth benchmark and many networks cut from its images: at the bottom, in the middle.
BENCHMARK_CROP = (352, 1216)
KITTI_HEIGHTS, KITTI_WIDTHS = range(370, 377), range(1224, 1243)
WIDEST, NARROWEST = 0.1, 100  # focal length by width: 157 and 0.6 degrees from side to side
LONGEST = 10  # m between two cameras
LIKE_A_CROP = 0.9  # of the image's height or width


@dataclass(frozen=True)
class Camera:
    """Left camera of a rectified pair.

    Attributes:
        focal: focal length in px of images ``width`` px wide.
        width: image width in px that ``focal`` (and ``cx``) belongs to.
        baseline: distance to the right camera in m.
        cx, cy: principal point in px at that width; None where nothing is known about it.
        source: origin of the numbers, as reports name it: 'calibration 2011_09_26', '--focal and --baseline'.
        height: image height in px; None where nothing is known about it.

    Raises:
        InputError: a focal length, width or baseline that is not a positive finite number, or none of an image in px or
            of a rig in m.
    """

    focal: float
    width: int
    baseline: float
    cx: float | None = None
    cy: float | None = None
    source: str = 'unknown'
    height: int | None = None

    def __post_init__(self) -> None:
        for name, value in (('focal length', self.focal), ('image width', self.width), ('baseline', self.baseline)):
            if not (math.isfinite(value) and value > 0):
                raise InputError(f'the {name} of a camera ({self.source}) must be a positive number, not {value}')
        if not WIDEST <= self.focal / self.width <= NARROWEST:
            raise InputError(
                f'a focal length of {self.focal:g} px at a width of {self.width} px ({self.source}) is that of no '
                'rectified image; one in mm becomes px by x width of the image / width of the sensor in mm'
            )
        if self.baseline > LONGEST:
            raise InputError(
                f'a baseline of {self.baseline:g} m ({self.source}) is that of no rig; one in mm becomes m by / 1000, '
                'one in cm by / 100'
            )

    def focal_at(self, width: int) -> float:
        """Focal length in px of the same image resized to ``width`` px."""
        return self.focal * width / self.width

    def for_image(self, size: tuple[int, int], *, cropped: Place | None = None) -> Camera:
        """Camera of an image of ``size`` (H, W): this camera's whole image, resized or not, or a crop of it.

        A resized image has its focal length in proportion; a crop keeps the whole image's. A crop that nobody tells of
        and that has the whole image's proportions cannot be told from a resized one, so ``source`` says what was taken.

        Args:
            cropped: place of the crop that the image is; None finds out by the size whether it is whole, or the
                bottom crop of 352 x 1216 that KITTI's depth benchmark takes.

        Raises:
            InputError: the image is neither, so that its focal length is not known.
        """
        height, width = size
        if self.height is None:
            corner, ratio, source = (0, 0), width / self.width, self.source
        else:
            whole = (self.height, self.width)
            place = cropped or known_crop(whole, size)
            corner = (0, 0) if place is None else crop_corner(whole, size, place)
            ratio = 1.0 if place else width / self.width
            taken = f'cropped, {place}' if place else 'resized'
            source = self.source if size == whole else f'{self.source} for {self.width} x {self.height}, {taken}'
            if place is None and not uniform(whole, size):
                raise InputError(
                    f'the image is {width} x {height}, and {self.source} is for {self.width} x {self.height}: it is '
                    'neither that image at another scale nor a known crop of it, so its focal length is not known; '
                    'give --focal PX of this image, or --cropped if it is a crop in full resolution'
                )
        # Pixel centres are at whole numbers, so that resizing moves a point from c to (c + 1/2) ratio - 1/2.
        cx, cy = (
            None if centre is None else (centre - start + 0.5) * ratio - 0.5
            for centre, start in ((self.cx, corner[1]), (self.cy, corner[0]))
        )
        return replace(self, focal=self.focal * ratio, width=width, height=height, cx=cx, cy=cy, source=source)

    def depth(self, disparity: Disparity, *, width: int) -> Disparity:
        """Depth in m, focal x baseline / disparity, of a disparity in px of images ``width`` px wide.

        The shape and type are those of the disparity. Where it is not above 0 nothing was matched: depth is inf there,
        and NaN stays NaN.
        """
        scale = self.focal_at(width) * self.baseline
        if isinstance(disparity, torch.Tensor):
            return torch.where(disparity <= 0, torch.full_like(disparity, torch.inf), scale / disparity)
        if isinstance(disparity, np.ndarray):
            if not np.issubdtype(disparity.dtype, np.floating):
                disparity = disparity.astype(np.float32)
            depth = np.full_like(disparity, np.inf)
            np.divide(scale, disparity, out=depth, where=~(disparity <= 0))
            return depth
        return math.inf if disparity <= 0 else scale / disparity


def uniform(whole: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether ``size`` (H, W) is ``whole`` (H, W) scaled uniformly, to a pixel."""
    return abs(size[0] - whole[0] * size[1] / whole[1]) < 1 or abs(size[1] - whole[1] * size[0] / whole[0]) < 1


def known_crop(whole: tuple[int, int], size: tuple[int, int]) -> Place | None:
    """Place of the crop of ``size`` (H, W) that is usual for images of the size ``whole``: the benchmark's of KITTI."""
    kitti = whole[0] in KITTI_HEIGHTS and whole[1] in KITTI_WIDTHS
    return 'bottom' if kitti and tuple(size) == BENCHMARK_CROP else None


def prediction_place(whole: tuple[int, int], size: tuple[int, int], cropped: Cropped | None) -> Place | None:
    """Place of a predicted map of ``size`` (H, W) in an image of the size ``whole``; None where it is the whole image.

    A network sees whole images squeezed into its own shape, so a map much smaller than the image is the whole one.

    Args:
        cropped: place of the crop, or 'no' for the whole image; None finds out by the size.

    Raises:
        InputError: the map may be a crop or a whole image, or lies on its side.
    """
    if tuple(size) == whole[::-1] != whole:
        raise InputError(f'a map of {size[1]} x {size[0]} for an image of {whole[1]} x {whole[0]} lies on its side')
    if cropped is not None:
        return None if cropped == 'no' else cropped
    if (place := known_crop(whole, size)) is not None:
        return place
    shares = (size[0] / whole[0], size[1] / whole[1])
    scaled = whole[1] in KITTI_WIDTHS and uniform(BENCHMARK_CROP, size)
    if not uniform(whole, size) and (LIKE_A_CROP < max(shares) <= 1 or scaled):
        raise InputError(
            f'a map of {size[1]} x {size[0]} for an image of {whole[1]} x {whole[0]} is a crop or the whole image out '
            'of proportion: say which with --cropped bottom, centre or no'
        )
    return None


def crop_corner(whole: tuple[int, int], size: tuple[int, int], place: Place) -> tuple[int, int]:
    """Row and column of the upper left corner of a crop of ``size`` (H, W), which is in the middle from side to side.

    Raises:
        InputError: the crop is larger than the whole.
    """
    rows, columns = whole[0] - size[0], whole[1] - size[1]
    if min(rows, columns) < 0:
        raise InputError(f'{size[1]} x {size[0]} is no crop of {whole[1]} x {whole[0]}; leave --cropped out')
    return rows if place == 'bottom' else rows // 2, columns // 2


BASELINES_AGREE = 0.03  # KITTI's dates differ by 1 %


@dataclass(frozen=True)
class TrainedOn:
    """Stereo pairs that a network was trained on; checkpoints and exported files hold it.

    Such a network sees one image and predicts the disparity that *its* rig would have had, whatever camera took the
    image. With d px of disparity in an image of another camera, of the focal length f px at the image's own width,
    depth is f x (training baseline) / d: the depth that the training rig would have had, times the ratio of the focal
    lengths per width.

    Attributes:
        size: height and width in px of the images that the network saw.
        cameras: of the pairs, each once.
    """

    size: tuple[int, int]
    cameras: tuple[Camera, ...]

    def told(self) -> dict[str, Any]:
        """Plain data that ``of`` reads."""
        names = ('focal', 'width', 'height', 'baseline', 'source')
        cameras = [{name: getattr(camera, name) for name in names} for camera in self.cameras]
        return dict(size=list(self.size), cameras=cameras)

    @classmethod
    def of(cls, told: Mapping[str, Any], source: str) -> TrainedOn | None:
        """From the description of its training data in a file; None where that says nothing of cameras.

        Raises:
            InputError: the description is damaged.
        """
        if not told.get('cameras'):
            return None
        try:
            height, width = told['size']
            return cls((int(height), int(width)), tuple(Camera(**each) for each in told['cameras']))
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f'{source}: its description of the training pairs is damaged: {error}') from error

    @property
    def baseline(self) -> float:
        """Distance of the cameras in m, the mean of those that differ by less than 3 %.

        Raises:
            InputError: they differ by more, so that disparities have no one scale.
        """
        baselines = [camera.baseline for camera in self.cameras]
        if max(baselines) > (1 + BASELINES_AGREE) * min(baselines):
            raise InputError(
                f'the network was trained on pairs with baselines from {min(baselines):.4f} to {max(baselines):.4f} m, '
                'so its disparities have no one scale; give --baseline METRES'
            )
        return sum(baselines) / len(baselines)

    @property
    def proportions(self) -> float | None:
        """Width / height of the images as they were taken, which the network saw squeezed to ``size``; the mean."""
        known = [camera.width / camera.height for camera in self.cameras if camera.height]
        return sum(known) / len(known) if known else None

    def seen_by(self, camera: Camera) -> Camera:
        """``camera`` with the baseline of the network's disparities; one of the training cameras stays as it is.

        Raises:
            InputError: see ``baseline``.
        """
        for each in self.cameras:
            same = math.isclose(each.baseline, camera.baseline, rel_tol=1e-3)
            if same and math.isclose(each.focal_at(1), camera.focal_at(1), rel_tol=1e-3):
                return camera
        return replace(camera, baseline=self.baseline)


def distinct(cameras: Sequence[Camera]) -> tuple[Camera, ...]:
    """Cameras of different numbers, each once."""
    return tuple({(each.focal, each.width, each.baseline): each for each in cameras}.values())
