"""Stereo pairs of rendered streets as a dataset: the depth app's embedded training and test data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS

from bireal_plugin.depth.camera import Camera, TrainedOn
from bireal_plugin.depth.pair_dataset import PairDataset, planes
from bireal_plugin.depth.street.scene import BASELINE, FOCAL_PER_WIDTH, Scene, render_street
from bireal_plugin.errors import InputError

SPLITS = ('train', 'test')
LARGEST_SPLIT = 1_000_000  # streets set aside for one split of one ``seed``; no two splits or seeds share a street


@DATASETS.register_module()
class StreetPairs(PairDataset):
    """``length`` rendered streets of one split; each is rendered when first asked for, then kept in memory.

    At 96 x 320 a street takes about 40 ms to render and 0.6 MB to keep; every data worker keeps its own.

    Args:
        split: 'train' or 'test'; they share no street.
        length: number of pairs, at most 1 000 000.
        size: (H, W) of the images.
        seed: another seed, other streets, and other pairs mirrored.
        flip: see ``PairDataset``.

    An item is dict(left=uint8 tensor (3, H, W), right=the same, depth=float32 tensor (H, W) of the left image in m with
    0 = sky, focal=float px at width W, baseline=float m, name=str).

    Raises:
        InputError: an unknown split, a negative seed, or a length outside 1 .. 1 000 000.
    """

    name = 'rendered streets'

    def __init__(
        self, split: str, length: int, size: tuple[int, int] = (96, 320), seed: int = 0, *, flip: bool = False
    ) -> None:
        super().__init__(flip=flip, seed=seed)
        if split not in SPLITS:
            raise InputError(f'StreetPairs has the splits {" and ".join(SPLITS)}, not split={split!r}')
        if not 1 <= length <= LARGEST_SPLIT:
            raise InputError(f'StreetPairs needs a length from 1 to {LARGEST_SPLIT}, not length={length}')
        self.split = split
        self.size = (int(size[0]), int(size[1]))
        self.first_street = (seed * len(SPLITS) + SPLITS.index(split)) * LARGEST_SPLIT
        self._scenes: list[Scene | None] = [None] * length

    @property
    def trained_on(self) -> TrainedOn:
        height, width = self.size
        return TrainedOn(
            self.size, (Camera(FOCAL_PER_WIDTH * width, width, BASELINE, source='the renderer', height=height),)
        )

    def __len__(self) -> int:
        return len(self._scenes)

    def scene(self, index: int) -> Scene:
        """Rendered pair number ``index`` with its truth for both views; never mirrored."""
        scene = self._scenes[index]
        if scene is None:
            scene = render_street(self.first_street + index % len(self), self.size)
            self._scenes[index] = scene
        return scene

    def item(self, index: int, *, mirrored: bool) -> dict[str, Any]:
        scene = self.scene(index)
        left, right, depth = scene.left, scene.right, scene.depth_left
        if mirrored:
            left, right, depth = scene.right[:, ::-1], scene.left[:, ::-1], scene.depth_right[:, ::-1]
        return dict(
            left=planes(left),
            right=planes(right),
            depth=torch.from_numpy(np.array(depth)),
            focal=float(scene.camera.focal),
            baseline=float(scene.camera.baseline),
            name=f'{self.split}_{index:06d}',
        )
