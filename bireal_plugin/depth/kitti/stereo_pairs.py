"""Stereo pairs as a dataset: KITTI's raw recordings, or rectified pairs of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from bireal_plugin.depth.camera import Camera, TrainedOn, distinct
from bireal_plugin.depth.kitti.calibration import stereo_camera
from bireal_plugin.depth.kitti.ground_truth import Truth, frames_with_truth, true_depth
from bireal_plugin.depth.kitti.own_pairs import OwnPair, pairs_of_folders, pairs_of_table
from bireal_plugin.depth.kitti.raw import Frame, RawFolder, read_recorded
from bireal_plugin.depth.kitti.splits import find_split
from bireal_plugin.depth.kitti.survey import right_order
from bireal_plugin.depth.pair_dataset import PairDataset, planes
from bireal_plugin.errors import InputError


@DATASETS.register_module()
class StereoPairs(PairDataset):
    """Left and right images resized to one size, with the camera's numbers and, on demand, true depth.

    Pairs come from KITTI's recordings (``root`` and ``split``), from two folders (``left`` and ``right``) or from a
    table (``pairs``).

    An item is dict(left=uint8 tensor ``(3, H, W)`` in RGB, right=the same, focal=float px at width W, baseline=float m,
    name=str). With ``truth`` it has also depth=float32 tensor ``(H0, W0)`` in m, 0 where there is none, at the size of
    the left image on disk or the map's own, and size=int64 tensor ``[H0, W0]``; those differ between dates, so use
    batches of 1.

    Args:
        root: the folder that holds KITTI's dates.
        split: 'train' or 'test' for all frames of Garg's drives, 'all', or the path of a list; see ``find_split``.
            Frames without a partner are skipped: ``split.incomplete`` has them.
        size: (H, W) that both images are resized to.
        flip, seed: see ``PairDataset``.
        left, right: folders of rectified images, those of a pair called alike; they need ``focal`` and ``baseline``.
        pairs: a CSV file with the columns left, right, focal and baseline; files are relative to its folder.
        focal: focal length in px of the images of ``left`` as they are on disk, or of all of ``pairs``.
        swap: take image_03 (or ``right``) for the left image, for pairs that were saved the wrong way round.
        baseline: distance of the cameras in m; for KITTI instead of the calibration's, 0.54 compares with papers that
            used it.
        truth: 'lidar' or 'velodyne' projects the laser scan into the left image, 'annotated' reads the benchmark's
            depth maps; see ``true_depth``. Frames without it are skipped, ``without_truth`` of them.
        annotated: a folder of annotated depth maps apart from ``root``.

    Raises:
        InputError: bad options, an empty split, no pairs, left and right the wrong way round, no calibration for a date
            of the split, no frame with ``truth``; and, when an item is read, an image, a scan or a depth map that is
            truncated or of another size.
    """

    name = 'stereo pairs'

    def __init__(
        self,
        root: str | Path | None = None,
        split: str | Path | None = None,
        size: tuple[int, int] = (160, 608),
        *,
        left: str | Path | None = None,
        right: str | Path | None = None,
        pairs: str | Path | None = None,
        focal: float | None = None,
        flip: bool = False,
        swap: bool = False,
        baseline: float | None = None,
        truth: Truth | None = None,
        annotated: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(flip=flip, seed=seed)
        if truth and flip:
            raise InputError('flip=True mirrors the images and not the ground truth; use one of flip and truth')
        if len(size) != 2 or min(size) < 1:
            raise InputError(f'size must be (height, width) in px, for example (160, 608), not {size!r}')
        self.size = (int(size[0]), int(size[1]))
        self.swap, self.truth = swap, truth
        if any(value is not None for value in (left, right, pairs)):
            if root is not None or split is not None or truth is not None:
                raise InputError(
                    'root, split and truth are those of KITTI; leave them out where left or pairs is given'
                )
            own = _own_pairs(left, right, pairs, focal, baseline)
            self.frames: Sequence[Frame | OwnPair] = own
            self.cameras = {pair.camera.source: pair.camera for pair in own}
            self._check_order(own)
            return
        if root is None or split is None:
            raise InputError(
                'StereoPairs has no root; set data_root (or root) to the KITTI folder that holds 2011_09_26 and so on '
                '(and split), or left and right to two folders of rectified images of your own'
            )
        if focal is not None:
            raise InputError("focal is that of left and right; KITTI's stands in its calibration, so leave it out")
        self.raw = RawFolder(root, annotated=annotated)
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
        if isinstance(frame, OwnPair):
            paths, own, name = frame[:2], frame.camera, frame.left.stem
        else:
            paths = (self.raw.image(frame, 'left'), self.raw.image(frame, 'right'))
            own, name = self.cameras[frame.date], f'{frame.folder}_{frame.file}'
        left_path, right_path = paths[::-1] if self.swap else paths
        left, right = read_recorded(left_path), read_recorded(right_path)
        if left.shape != right.shape:
            raise InputError(
                f'{left_path} is {left.shape[1]} x {left.shape[0]} px and {right_path} is {right.shape[1]} x '
                f'{right.shape[0]}; a rectified pair has one size, so copy it again or leave it out'
            )
        camera = own.for_image(left.shape[:2])
        truth: dict[str, Any] = {}
        if self.truth is not None and isinstance(frame, Frame):
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
            name=name,
            **truth,
        )

    def _camera(self, date: str, baseline: float | None) -> Camera:
        camera = stereo_camera(self.raw.calibration(date), source=f'calibration {date}')
        if baseline is None:
            return camera
        return replace(camera, baseline=baseline, source=f'{camera.source}, baseline option')

    def _check_order(self, pairs: Sequence[OwnPair]) -> None:
        """Refuse own pairs whose near objects lie where a camera on the left would see them."""
        shares, same = [], []
        for pair in pairs[:: max(1, (len(pairs) - 1) // 2)]:
            left, right = (pair.right, pair.left) if self.swap else (pair.left, pair.right)
            one, other = read_recorded(left), read_recorded(right)
            same.append(np.array_equal(one, other))
            if one.shape == other.shape and (share := right_order(one, other)) is not None:
                shares.append(share)
        if all(same):
            raise InputError(f'left and right are the same images, as {pairs[0].left} and {pairs[0].right}')
        if shares and max(shares) < SWAPPED:
            raise InputError(
                f'left and right are swapped: {shares[0]:.0%} of the matches of {pairs[0].left} lie where a right '
                f'camera sees them; set swap={not self.swap}'
            )


SWAPPED = 0.2  # share of right matches below which all of some pairs must lie to be called swapped


def _own_pairs(
    left: str | Path | None,
    right: str | Path | None,
    pairs: str | Path | None,
    focal: float | None,
    baseline: float | None,
) -> Sequence[OwnPair]:
    if pairs is not None:
        if left is not None or right is not None:
            raise InputError('pairs is a table of left and right images; leave left and right out')
        found = pairs_of_table(Path(pairs), focal=focal, baseline=baseline)
        if not found:
            raise InputError(f'the table {pairs} has no pairs')
        return found
    if left is None or right is None or focal is None or baseline is None:
        raise InputError('pairs of two folders need left=FOLDER, right=FOLDER, focal=PX (on disk) and baseline=METRES')
    found, alone = pairs_of_folders(Path(left), Path(right), focal=focal, baseline=baseline)
    if alone:
        print_log(f'{len(found)} pairs in {left} and {right}, {alone} images without a partner', logger='current')
    return found
