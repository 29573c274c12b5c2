"""The network that a config and a checkpoint describe, ready to be exported: strictly loaded and folded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor, nn

from bireal_plugin.dry_run import input_shape
from bireal_plugin.errors import InputError
from bireal_plugin.folding.fold import fold
from bireal_plugin.training.config import build_dataset
from bireal_plugin.training.trained import load_trained

Part = Literal['backbone', 'backbone+neck']
DIVISOR = 32  # of the sizes that feature pyramids take


class FeatureMaps(nn.Module):
    """Backbone and neck of a detector, as its ``extract_feat``: an image to feature maps."""

    def __init__(self, backbone: nn.Module, neck: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck

    def forward(self, x: Tensor) -> Any:
        return self.neck(self.backbone(x))


@dataclass(frozen=True)
class Network:
    """What is exported, and what belongs to it.

    Attributes:
        model: the part to export, folded, in evaluation mode.
        packed_config: what a packed file says to build it from; None where a packed file cannot hold it.
        normalise: raw uint8 images ``(N, C, H, W)`` to the model's float32 input.
        channels: of the image. bgr: the raw images' channels are in OpenCV's order.
    """

    model: nn.Module
    packed_config: Mapping[str, Any] | None
    normalise: Callable[[Tensor], Tensor]
    channels: int
    bgr: bool


def load_network(config: Config, checkpoint: str | Path, *, part: Part | None = None) -> Network:
    """Build the model of an ordinary config (``trained_config``), load all of ``checkpoint``, and fold it.

    Args:
        part: of a model with a backbone, what to export: by default a detector's backbone and neck, a classifier whole.

    Raises:
        InputError: the model cannot be built, has no such part or cannot be folded, or the weights are another's.
    """
    whole, config = load_trained(config, checkpoint)
    where = str(config.filename)
    preprocessor = getattr(whole, 'data_preprocessor', None)
    if preprocessor is None:
        preprocessor = MODELS.build(config.get('data_preprocessor') or dict(type='ImagePreprocessor'))
    model, packed_config = _part(whole, config.model, part, where)
    channels = input_shape(model)[0]

    def normalise(images: Tensor) -> Tensor:
        with torch.no_grad():
            return preprocessor(dict(inputs=images, data_samples=None), False)['inputs'].float().contiguous()

    # The pipelines in front of OpenMMLab's preprocessors read pictures with OpenCV.
    bgr = isinstance(preprocessor, ImgDataPreprocessor)
    return Network(fold(model), packed_config, normalise, channels, bgr)


def tested_size(config: Config, model: nn.Module) -> tuple[int, int]:
    """Height and width of the images that ``config`` tests with.

    They are those of the test data set: its ``Resize`` rounded up to 32, its crop, its size, or else those of its first
    image. A config without a test data set has the size of ``input_shape``.

    Raises:
        InputError: the data set does not say its size and cannot be read.
    """
    dataset = (config.get('test_dataloader') or {}).get('dataset')
    if not dataset:
        return input_shape(model)[1:]
    for step in dataset.get('pipeline') or []:
        if step['type'] == 'Resize' and isinstance(step.get('scale'), (tuple, list)):
            width, height = (math.ceil(side / DIVISOR) * DIVISOR for side in step['scale'])
            return height, width
    size = (dataset.get('transform') or {}).get('crop') or dataset.get('size')
    if isinstance(size, int):
        return size, size
    if size is not None:
        return size[0], size[1]
    try:
        item = build_dataset(config, dataset)[0]
    except (InputError, OSError) as error:
        raise InputError(f'the size of the test images is not known: {error}; give it as --size H W') from error
    image = item.get('inputs') if isinstance(item, Mapping) else None
    if not isinstance(image, Tensor):
        raise InputError(f'{config.filename}: an item of the test data set has no image tensor inputs; give --size H W')
    return image.shape[-2], image.shape[-1]


def _part(whole: nn.Module, config: Mapping[str, Any], part: Part | None, where: str) -> tuple[nn.Module, Any]:
    """The module to export, and its config for a packed file."""
    backbone, neck = getattr(whole, 'backbone', None), getattr(whole, 'neck', None)
    if part is None:
        if hasattr(whole, 'extract_feat') and backbone is not None:
            part = 'backbone' if neck is None else 'backbone+neck'
        else:
            return whole, _packable(config)
    if part == 'backbone':
        return (whole, _packable(config)) if backbone is None else (backbone, _packable(config['backbone']))
    if backbone is None or neck is None:
        raise InputError(f'--part {part}: the {type(whole).__name__} of {where} has no neck; leave --part out')
    return FeatureMaps(backbone, neck), None


def _packable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without what loads weights, since a packed file has them inside."""
    kept = {key: value for key, value in config.items() if key not in ('init_cfg', 'pretrained')}
    return {key: _packable(value) if key == 'backbone' else value for key, value in kept.items()}


def as_shape(given: Sequence[int], channels: int) -> tuple[int, int, int, int]:
    """``(N, C, H, W)`` of what a command line was given: all four, or H and W.

    Raises:
        InputError: another number of sizes, or other channels than the network has.
    """
    if len(given) not in (2, 4) or min(given) < 1:
        raise InputError(f'--shape takes H W or N C H W, all positive, not {" ".join(map(str, given))}')
    n, c, h, w = given if len(given) == 4 else (1, channels, *given)
    if c != channels:
        raise InputError(f'--shape: the network takes images of {channels} channels, not {c}')
    return n, c, h, w
