"""A trained network ready to be exported, with everything about its images that the files and the proof need."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
from bireal_plugin.shipping.classification import preparation_metadata
from bireal_plugin.training.config import build_dataset, dataset_of
from bireal_plugin.training.trained import load_trained

Part = Literal['backbone', 'backbone+neck']
LOADS_WEIGHTS = ('init_cfg', 'pretrained')
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
    """A folded network and its images.

    Attributes:
        model: the part to export, folded, in evaluation mode.
        config: of the run that trained it, without stages; it knows the datasets.
        size: height and width of the images.
        channels: of the images. bgr: raw images have them in OpenCV's order.
        normalise: raw uint8 images ``(N, C, H, W)`` to the model's float32 input.
        packed_config: a packed file's description of the model; None where a packed file cannot hold it.
        image_key: of the raw image in an item of a dataset.
        metadata: texts that every file keeps.
    """

    model: nn.Module
    config: Config
    size: tuple[int, int]
    channels: int
    bgr: bool
    normalise: Callable[[Tensor], Tensor]
    packed_config: Mapping[str, Any] | None
    image_key: str = 'inputs'
    metadata: Mapping[str, str] = field(default_factory=dict)


def load_network(
    config: str | Path | Config | None,
    checkpoint: str | Path,
    *,
    stage: str | None = None,
    part: Part | None = None,
    size: Sequence[int] | None = None,
    allow_other_network: bool = False,
) -> Network:
    """Load a trained network and fold it.

    Args:
        config, stage, allow_other_network: see ``load_trained``.
        part: of a model with a backbone; by default a detector's backbone and neck, a classifier whole.
        size: height and width of the images; by default those of the config's test data.

    Raises:
        InputError: the model cannot be built, has no such part or cannot be folded, or the weights are another's.
    """
    whole, trained = load_trained(config, checkpoint, stage=stage, allow_other_network=allow_other_network)
    model, packed_config = _part(whole, trained.model, part, str(trained.filename))
    preprocessor = getattr(whole, 'data_preprocessor', None)
    if preprocessor is None:
        preprocessor = MODELS.build(trained.get('data_preprocessor') or dict(type='ImagePreprocessor'))
    found = (size[0], size[1]) if size is not None else tested_size(trained, model)
    return Network(
        model=fold(model),
        config=trained,
        size=found,
        channels=input_shape(model)[0],
        # The pipelines in front of OpenMMLab's preprocessors read pictures with OpenCV.
        bgr=isinstance(preprocessor, ImgDataPreprocessor),
        normalise=normaliser(preprocessor),
        packed_config=packed_config,
        metadata=preparation_metadata(trained, model, found, checkpoint),
    )


def normaliser(preprocessor: nn.Module) -> Callable[[Tensor], Tensor]:
    """Function from raw uint8 images ``(N, C, H, W)`` to the float32 input that a data preprocessor makes of them."""

    @torch.no_grad()
    def normalise(images: Tensor) -> Tensor:
        return preprocessor(dict(inputs=images, data_samples=None), False)['inputs'].float().contiguous()

    return normalise


def tested_size(config: Config, model: nn.Module) -> tuple[int, int]:
    """Height and width of the images that ``config`` tests with.

    They are those of the test data set: its ``Resize`` rounded up to 32, its crop, its size, or else those of its first
    image. A config without a test data set has the size of ``input_shape``.

    Raises:
        InputError: the data set does not say its size and cannot be read.
    """
    dataset = dataset_of(config)
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


def without_loading(config: Any) -> Any:
    """A config without the keys that load weights, since files have the weights inside."""
    if isinstance(config, Mapping):
        return {key: without_loading(value) for key, value in config.items() if key not in LOADS_WEIGHTS}
    return config


def _part(whole: nn.Module, config: Mapping[str, Any], part: Part | None, where: str) -> tuple[nn.Module, Any]:
    """Module to export, and its config for a packed file."""
    backbone, neck = getattr(whole, 'backbone', None), getattr(whole, 'neck', None)
    if part is None:
        if hasattr(whole, 'extract_feat') and backbone is not None:
            part = 'backbone' if neck is None else 'backbone+neck'
        else:
            return whole, without_loading(config)
    if part == 'backbone':
        return (whole, without_loading(config)) if backbone is None else (backbone, without_loading(config['backbone']))
    if backbone is None or neck is None:
        raise InputError(f'--part {part}: the {type(whole).__name__} of {where} has no neck; leave --part out')
    return FeatureMaps(backbone, neck), None
