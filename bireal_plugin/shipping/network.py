"""A trained network ready to be exported, with everything about its images that the files and the proof need."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor, nn

from bireal_plugin.binary import binary_convolutions
from bireal_plugin.dry_run import input_shape
from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.format import is_packed
from bireal_plugin.folding.fold import fold
from bireal_plugin.shipping.classification import PART, preparation_metadata
from bireal_plugin.shipping.packed_source import open_source
from bireal_plugin.training.config import dataset_of
from bireal_plugin.training.image_size import Size, record_of, same_data, tested_size
from bireal_plugin.training.trained import load_trained

Part = Literal['backbone', 'backbone+neck']
LOADS_WEIGHTS = ('init_cfg', 'pretrained')
SIZE = 'input_size'  # in the metadata of an exported file: JSON of height and width


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
        size: height and width of the images. size_source: words that tell why these.
        channels: of the images. bgr: raw images have them in OpenCV's order.
        normalise: raw uint8 images ``(N, C, H, W)`` to the model's float32 input.
        packed_config: a packed file's description of the model; None where a packed file cannot hold it.
        image_key: of the raw image in an item of a dataset.
        metadata: texts that every file keeps.
        recorded_top1: accuracy that training measured on the test data of ``config``, 0 to 1; None where it did not.
        part: of the trained network that ``model`` is; None where it is the whole.
    """

    model: nn.Module
    config: Config
    size: Size
    size_source: str
    channels: int
    bgr: bool
    normalise: Callable[[Tensor], Tensor]
    packed_config: Mapping[str, Any] | None
    image_key: str = 'inputs'
    metadata: Mapping[str, str] = field(default_factory=dict)
    recorded_top1: float | None = None
    part: Part | None = None


def load_network(
    config: str | Path | Config | None,
    checkpoint: str | Path,
    *,
    stage: str | None = None,
    part: Part | None = None,
    size: Sequence[int] | None = None,
    allow_other_network: bool = False,
) -> Network:
    """Load a trained network and fold it; a stage whose layers are all real gives a network without 1-bit layers.

    Args:
        config, stage, allow_other_network: see ``load_trained``.
        checkpoint: trained weights, or a packed file, which is folded already.
        part: of a model with a backbone; by default a detector's backbone and neck, a classifier whole.
        size: height and width of the images; by default those it was trained with, see ``taken_size``.

    Raises:
        InputError: the model cannot be built, has no such part or cannot be folded, the weights are another's, or the
            size is not known.
    """
    if is_packed(checkpoint):
        choices = dict(config=config, stage=stage, part=part, allow_other_network=allow_other_network)
        found = open_source(str(checkpoint), choices, size, SIZE)
        return Network(
            model=found.model,
            config=found.config,
            size=found.size[0],
            size_source=found.size[1],
            channels=input_shape(found.model)[0],
            bgr=False,
            normalise=normaliser(found.preprocessor),
            packed_config=found.described,
            metadata={**found.metadata, **size_metadata(found.size[0])},
        )
    whole, trained = load_trained(config, checkpoint, stage=stage, allow_other_network=allow_other_network)
    part = part or _usual_part(whole)
    model, packed_config = _part(whole, trained.model, part, str(trained.filename))
    preprocessor = getattr(whole, 'data_preprocessor', None)
    if preprocessor is None:
        preprocessor = MODELS.build(trained.get('data_preprocessor') or dict(type='ImagePreprocessor'))
    taken, source = taken_size(size, config, trained, checkpoint)
    is_whole = model is whole
    preparation = preparation_metadata(trained, model, taken, checkpoint) if is_whole else {PART: str(part)}
    return Network(
        model=_folded(model),
        config=trained,
        size=taken,
        size_source=source,
        channels=input_shape(model)[0],
        # The pipelines in front of OpenMMLab's preprocessors read pictures with OpenCV.
        bgr=isinstance(preprocessor, ImgDataPreprocessor),
        normalise=normaliser(preprocessor),
        packed_config=packed_config,
        metadata={**size_metadata(taken), **preparation},
        recorded_top1=recorded_top1(trained, checkpoint) if is_whole else None,
        part=None if is_whole else part,
    )


def _folded(model: nn.Module) -> nn.Module:
    """A folded copy; of a wholly real network, as a recipe's first stages train it, a copy that engines fold."""
    layers = [layer for _, layer in binary_convolutions(model)]
    if layers and not any(layer.binary_input or layer.binary_weight for layer in layers):
        return copy.deepcopy(model).eval().requires_grad_(False)
    return fold(model)


def size_metadata(size: Size) -> dict[str, str]:
    """The entry of the size for an exported file's metadata."""
    return {SIZE: json.dumps(size)}


def recorded_top1(config: Config, checkpoint: str | Path) -> float | None:
    """Accuracy, 0 to 1, that training measured with a checkpoint's weights on the test data of ``config``."""
    record = record_of(str(checkpoint))
    top1 = record.metrics.get('accuracy/top1')
    return None if top1 is None or not same_data(record.data, dataset_of(config)) else top1 / 100


def normaliser(preprocessor: nn.Module) -> Callable[[Tensor], Tensor]:
    """Function from raw uint8 images ``(N, C, H, W)`` to the float32 input that a data preprocessor makes of them."""

    @torch.no_grad()
    def normalise(images: Tensor) -> Tensor:
        return preprocessor(dict(inputs=images, data_samples=None), False)['inputs'].float().contiguous()

    return normalise


def taken_size(
    given: Sequence[int] | None, config: str | Path | Config | None, trained: Config, checkpoint: str | Path
) -> tuple[Size, str]:
    """Height and width of a trained network's images, and the words that tell where they come from.

    Args:
        given: ``--size``, taken whatever the network was trained with.
        config: where it is given, its data must have the size that the checkpoint was trained with.
        trained: the ordinary config of the network.

    Raises:
        InputError: nothing tells the size, or config and checkpoint tell two.
    """
    recorded = record_of(str(checkpoint)).size
    if given is not None:
        size = (given[0], given[1])
        return size, 'as --size says' if recorded in (None, size) else f'as --size says; trained with {_px(recorded)}'
    if recorded is not None and config is None:
        return recorded, 'as trained'
    try:
        tested = tested_size(trained)
    except InputError:
        if recorded is None:
            raise
        return recorded, 'as trained'
    if recorded not in (None, tested):
        raise InputError(
            f'{trained.filename} tests with images of {_px(tested)} and {checkpoint} was trained with {_px(recorded)}: '
            'say which with --size H W'
        )
    return tested, f'as {Path(str(trained.filename)).name} tests'


def _px(size: Sequence[int] | None) -> str:
    return ' x '.join(map(str, size or ()))


def without_loading(config: Any) -> Any:
    """A config without the keys that load weights, since files have the weights inside."""
    if isinstance(config, Mapping):
        return {key: without_loading(value) for key, value in config.items() if key not in LOADS_WEIGHTS}
    return config


def _usual_part(whole: nn.Module) -> Part | None:
    """Of a network of OpenMMLab all but its head; None of another, which is taken whole."""
    if not hasattr(whole, 'extract_feat') or getattr(whole, 'backbone', None) is None:
        return None
    return 'backbone' if getattr(whole, 'neck', None) is None else 'backbone+neck'


def _part(whole: nn.Module, config: Mapping[str, Any], part: Part | None, where: str) -> tuple[nn.Module, Any]:
    """Module to export, and its config for a packed file."""
    backbone, neck = getattr(whole, 'backbone', None), getattr(whole, 'neck', None)
    if part is None:
        return whole, without_loading(config)
    if part == 'backbone':
        return (whole, without_loading(config)) if backbone is None else (backbone, without_loading(config['backbone']))
    if backbone is None or neck is None:
        raise InputError(f'--part {part}: the {type(whole).__name__} of {where} has no neck; leave --part out')
    return FeatureMaps(backbone, neck), None
