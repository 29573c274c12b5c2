"""Stereo pairs of KITTI's raw recordings as a dataset."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.image_file import read_rgb
from bireal_plugin.depth.kitti.calibration import stereo_camera, velodyne_to_image
from bireal_plugin.depth.kitti.lidar import LidarDepth, project, read_velodyne
from bireal_plugin.depth.kitti.raw import Frame, RawFolder
from bireal_plugin.depth.kitti.splits import find_split
from bireal_plugin.depth.maps import read_depth_png
from bireal_plugin.errors import InputError

Truth = Literal['lidar', 'annotated']


@DATASETS.register_module()
class StereoPairs(Dataset):
    """Left and right images resized to one size, with the camera's numbers and, on demand, true depth.

    An item is dict(left=uint8 tensor ``(3, H, W)`` in RGB, right=the same, focal=float px at width W, baseline=float m,
    name=str). With ``truth`` it has also depth=float32 tensor ``(H0, W0)`` in m, 0 where there is none, at the size of
    the left image on disk, and size=int64 tensor ``[H0, W0]``; those sizes differ between dates, so use batches of 1.

    Args:
        root: the folder that holds the dates; a config that leaves it None is told to set it.
        split: 'train' or 'test' for all frames of Garg's drives, 'all', or the path of a list; see
            ``find_split``. Frames without a partner are skipped: ``split.incomplete`` has them.
        size: (H, W) that both images are resized to.
        flip: mirror half of the pairs. In a mirror the right camera stands on the left, so the images change places. A
            key (epoch, index), as ``EpochSampler`` hands out, decides it together with
            ``seed``; with a plain index torch's generator does.
        swap: take image_03 for the left image, for recordings that were saved the wrong way round.
        baseline: distance of the cameras in m instead of the calibration's; 0.54 compares with papers that used it.
        truth: 'lidar' projects the laser scan into the left image, 'annotated' reads the benchmark's depth maps. Frames
            without it are skipped, ``without_truth`` of them.
        lidar_depth: 'camera' or 'velodyne'; see ``project``.
        annotated: a folder of annotated depth maps apart from ``root``.
        seed: non-negative; another seed mirrors other pairs.

    Raises:
        InputError: bad options, an empty split, no calibration for a date of the split, no frame with ``truth``; and,
            when an item is read, an image, a scan or a depth map that is truncated or of another size.
    """

    def __init__(
        self,
        root: str | Path | None,
        split: str | Path,
        size: tuple[int, int] = (160, 608),
        *,
        flip: bool = False,
        swap: bool = False,
        baseline: float | None = None,
        truth: Truth | None = None,
        lidar_depth: LidarDepth = 'camera',
        annotated: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        if root is None:
            raise InputError(
                'StereoPairs has no root: set data_root (or root) to the KITTI folder that holds 2011_09_26 and so on.'
            )
        if truth not in (None, 'lidar', 'annotated'):
            raise InputError(f"truth must be 'lidar', 'annotated' or None, not {truth!r}.")
        if truth and flip:
            raise InputError('flip=True mirrors the images and not the ground truth: use one of flip and truth.')
        if len(size) != 2 or min(size) < 1:
            raise InputError(f'size must be (height, width) in px, for example (160, 608), not {size!r}.')
        if not isinstance(seed, int) or seed < 0:
            raise InputError(f'seed must be a whole number >= 0, for example seed=0, not {seed!r}.')
        self.raw = RawFolder(root, annotated=annotated)
        self.size = (int(size[0]), int(size[1]))
        self.flip, self.swap, self.seed = flip, swap, seed
        self.truth, self.lidar_depth = truth, lidar_depth
        self.split = find_split(split, self.raw)
        self.cameras = {date: self._camera(date, baseline) for date in sorted({frame.date for frame in self.split})}
        self.frames = self._with_truth()
        self.without_truth = len(self.split) - len(self.frames)
        if self.split.incomplete or self.without_truth:
            lacking = f', {self.without_truth} skipped for want of {truth} depth' if truth else ''
            print_log(f'{self.split}{lacking}', logger='current')

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (None, key)
        index = range(len(self))[operator.index(index)]
        frame = self.frames[index]
        left_path, right_path = self.raw.image(frame, 'left'), self.raw.image(frame, 'right')
        if self.swap:
            left_path, right_path = right_path, left_path
        left, right = read_rgb(left_path), read_rgb(right_path)
        if left.shape != right.shape:
            raise InputError(
                f'{left_path} is {left.shape[1]} x {left.shape[0]} px and {right_path} is {right.shape[1]} x '
                f'{right.shape[0]}: a rectified pair has one size, so unpack the drive again.'
            )
        item: dict[str, Any] = {}
        if self.truth is not None:
            item['depth'] = torch.from_numpy(self._depth(frame, left.shape[:2]))
            item['size'] = torch.tensor(left.shape[:2])
        left, right = self._resized(left), self._resized(right)
        if self.flip and self._mirrored(epoch, index):
            left, right = right[:, ::-1], left[:, ::-1]
        camera = self.cameras[frame.date]
        return dict(
            left=_planes(left),
            right=_planes(right),
            focal=camera.focal_at(self.size[1]),
            baseline=camera.baseline,
            name=f'{frame.folder}_{frame.file}',
            **item,
        )

    def _camera(self, date: str, baseline: float | None) -> Camera:
        camera = stereo_camera(self.raw.calibration(date), source=f'calibration {date}')
        if baseline is None:
            return camera
        return Camera(camera.focal, camera.width, baseline, camera.cx, camera.cy, f'{camera.source}, baseline option')

    def _with_truth(self) -> tuple[Frame, ...]:
        """The split's frames that have ground truth; a few scans are missing, drives' ends are not annotated."""
        if self.truth is None:
            return self.split.frames
        frames = tuple(frame for frame in self.split if self._has_truth(frame))
        if not frames:
            raise InputError(
                f'none of the {len(self.split)} frames of {self.split.name} in {self.raw.root} has {self.truth} '
                f'ground truth, first {self.split[0]}: unpack it, or use truth=None.'
            )
        if self.truth == 'lidar':
            for date in sorted({frame.date for frame in frames}):
                self._projection(date)  # a missing calibration is told now, not hours into training
        return frames

    def _has_truth(self, frame: Frame) -> bool:
        if self.truth == 'lidar':
            return self.raw.velodyne(frame).is_file()
        return self.raw.annotated(frame) is not None

    def _projection(self, date: str) -> np.ndarray:
        return velodyne_to_image(self.raw.calibration(date), self.raw.velodyne_calibration(date))

    def _depth(self, frame: Frame, size: tuple[int, int]) -> np.ndarray:
        """True depth of the left image, ``(H0, W0)`` float32 in m."""
        if self.truth == 'lidar':
            # The projection belongs to the width of the calibration; a pair that was resized is told, not guessed.
            if size[1] != self.cameras[frame.date].width:
                raise InputError(
                    f'{self.raw.image(frame)} is {size[1]} px wide, but the calibration of {frame.date} belongs to '
                    f'{self.cameras[frame.date].width} px: laser scans fit images of the original size only.'
                )
            scan = read_velodyne(self.raw.velodyne(frame))
            return project(scan, self._projection(frame.date), size, depth=self.lidar_depth)
        path = self.raw.annotated(frame)
        if path is None:
            raise InputError(f'the annotated depth map of {frame} is missing.')
        depth = read_depth_png(path)
        if depth.shape != size:
            raise InputError(
                f'{path} is {depth.shape[1]} x {depth.shape[0]} px, but its image is {size[1]} x {size[0]}: '
                'cropped selections of the benchmark do not fit the raw images.'
            )
        return depth

    def _mirrored(self, epoch: int | None, index: int) -> bool:
        if epoch is None:
            return bool(torch.rand(()) < 0.5)
        return bool(np.random.default_rng((self.seed, epoch, index)).random() < 0.5)

    def _resized(self, image: np.ndarray) -> np.ndarray:
        height, width = self.size
        if image.shape[:2] == self.size:
            return image
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _planes(image: np.ndarray) -> torch.Tensor:
    """``(H, W, 3)`` to ``(3, H, W)``."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
