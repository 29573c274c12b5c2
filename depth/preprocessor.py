"""From batches of uint8 stereo pairs to what the network and its loss take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS

from bireal_plugin.models.classifier import ImagePreprocessor

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@MODELS.register_module()
class StereoPreprocessor(ImagePreprocessor):
    """Moves a batch to the device; normalises the network's inputs there, and scales the loss's images to 0..1.

    Args:
        mean, std: per channel RGB, in the units of the 0..255 image.
    """

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__(mean, std)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """``dict(left=uint8 (N, 3, H, W), right=likewise, ...)`` to the network's arguments; other keys stay.

        ``inputs`` and ``right_inputs`` are normalised, ``left`` and ``right`` in 0..1. A batch with ``inputs`` instead
        of ``left`` holds single images, which are normalised alone.
        """
        if 'left' not in data:
            return super().forward(data, training)
        data = self.cast_data(data)
        for side, inputs in (('left', 'inputs'), ('right', 'right_inputs')):
            if side in data:
                image = data[side].float()
                data = {**data, inputs: (image - self.mean) / self.std, side: image / 255}
        return data
