"""Stereo pairs of KITTI's raw recordings as a dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from bireal_plugin.depth.camera import Camera, TrainedOn, distinct
from bireal_plugin.depth.kitti.calibration import stereo_camera
from bireal_plugin.depth.kitti.ground_truth import Truth, frames_with_truth, true_depth
from bireal_plugin.depth.kitti.raw import RawFolder, read_recorded
from bireal_plugin.depth.kitti.splits import find_split
from bireal_plugin.depth.pair_dataset import PairDataset, planes
from bireal_plugin.errors import InputError


@DATASETS.register_module()
class StereoPairs(PairDataset):
    """Left and right images resized to one size, with the camera's numbers and, on demand, true depth.

    An item is dict(left=uint8 tensor ``(3, H, W)`` in RGB, right=the same, focal=float px at width W, baseline=float m,
    name=str). With ``truth`` it has also depth=float32 tensor ``(H0, W0)`` in m, 0 where there is none, at the size of
    the left image on disk, and size=int64 tensor ``[H0, W0]``; those sizes differ between dates, so use batches of 1.

    Args:
        root: the folder that holds the dates.
        split: 'train' or 'test' for all frames of Garg's drives, 'all', or the path of a list; see ``find_split``.
            Frames without a partner are skipped: ``split.incomplete`` has them.
        size: (H, W) that both images are resized to.
        flip, seed: see ``PairDataset``.
        swap: take image_03 for the left image, for recordings that were saved the wrong way round.
        baseline: distance of the cameras in m instead of the calibration's; 0.54 compares with papers that used it.
        truth: 'lidar' or 'velodyne' projects the laser scan into the left image, 'annotated' reads the benchmark's
            depth maps; see ``true_depth``. Frames without it are skipped, ``without_truth`` of them.
        annotated: a folder of annotated depth maps apart from ``root``.

    Raises:
        InputError: bad options, an empty split, no calibration for a date of the split, no frame with ``truth``; and,
            when an item is read, an image, a scan or a depth map that is truncated or of another size.
    """

    name = 'KITTI raw stereo pairs'

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
        annotated: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(flip=flip, seed=seed)
        if root is None:
            raise InputError(
                'StereoPairs has no root; set data_root (or root) to the KITTI folder that holds 2011_09_26 and so on'
            )
        if truth and flip:
            raise InputError('flip=True mirrors the images and not the ground truth; use one of flip and truth')
        if len(size) != 2 or min(size) < 1:
            raise InputError(f'size must be (height, width) in px, for example (160, 608), not {size!r}')
        self.raw = RawFolder(root, annotated=annotated)
        self.size = (int(size[0]), int(size[1]))
        self.swap, self.truth = swap, truth
        self.split = find_split(split, self.raw)
        dates = sorted({frame.date for frame in self.split.frames})
        self.cameras = {date: self._camera(date, baseline) for date in dates}
        self.frames = self.split.frames if truth is None else frames_with_truth(self.raw, self.split.frames, truth)
        self.without_truth = len(self.split.frames) - len(self.frames)
        if self.split.incomplete or self.without_truth:
            lacking = f', {self.without_truth} skipped for want of {truth} depth' if truth else ''
            print_log(f'{self.split}{lacking}', logger='current')

    @property
    def trained_on(self) -> TrainedOn:
        return TrainedOn(self.size, distinct(list(self.cameras.values())))

    def __len__(self) -> int:
        return len(self.frames)

    def item(self, index: int, *, mirrored: bool) -> dict[str, Any]:
        frame = self.frames[index]
        left_path, right_path = self.raw.image(frame, 'left'), self.raw.image(frame, 'right')
        if self.swap:
            left_path, right_path = right_path, left_path
        left, right = read_recorded(left_path), read_recorded(right_path)
        if left.shape != right.shape:
            raise InputError(
                f'{left_path} is {left.shape[1]} x {left.shape[0]} px and {right_path} is {right.shape[1]} x '
                f'{right.shape[0]}; a rectified pair has one size, so unpack the drive again'
            )
        camera = self.cameras[frame.date].for_image(left.shape[:2])
        truth: dict[str, Any] = {}
        if self.truth is not None:
            depth = true_depth(self.raw, frame, self.truth)
            truth = dict(depth=torch.from_numpy(depth), size=torch.tensor(depth.shape))
        left, right = (cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA) for image in (left, right))
        if mirrored:
            left, right = right[:, ::-1], left[:, ::-1]
        return dict(
            left=planes(left),
            right=planes(right),
            focal=camera.focal_at(self.size[1]),
            baseline=camera.baseline,
            name=f'{frame.folder}_{frame.file}',
            **truth,
        )

    def _camera(self, date: str, baseline: float | None) -> Camera:
        camera = stereo_camera(self.raw.calibration(date), source=f'calibration {date}')
        if baseline is None:
            return camera
        return replace(camera, baseline=baseline, source=f'{camera.source}, baseline option')
