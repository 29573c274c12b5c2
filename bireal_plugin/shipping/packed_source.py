"""A packed file as the network to export: it says itself how its images are made, and not which data it has seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.file import open_packed
from bireal_plugin.shipping.classification import KEY
from bireal_plugin.training.image_size import Size


@dataclass(frozen=True)
class PackedSource:
    """Content of a packed file.

    Attributes:
        model: the folded network. preprocessor: of raw images.
        described: config that builds the model.
        config: of images that are read from a folder.
        size: height and width of its images, and the words that tell where they come from.
        metadata: texts in the file.
    """

    model: nn.Module
    preprocessor: nn.Module
    described: Mapping[str, Any]
    config: Config
    size: tuple[Size, str]
    metadata: Mapping[str, str]


def open_source(checkpoint: str, given: Mapping[str, Any], size: Sequence[int] | None, size_key: str) -> PackedSource:
    """Read the file ``checkpoint``, for images of ``size`` or of the one that it says.

    Args:
        given: choices of ``load_trained``, none of which a packed file takes. size_key: of the size in its metadata.

    Raises:
        InputError: a choice is given, the file is damaged, or nothing tells the size.
    """
    for name, value in given.items():
        if value:
            raise InputError(
                f'{checkpoint} is a packed network, which needs no --{name.replace("_", "-")}; leave it out'
            )
    model, content = open_packed(checkpoint)
    told = json.loads(content.metadata.get(size_key, 'null'))
    if size is None and told is None:
        raise InputError(f'{checkpoint} does not say the size of its images; give it with --size H W')
    taken = ((told[0], told[1]), 'as its file says') if size is None else ((size[0], size[1]), 'as --size says')
    transform = json.loads(content.metadata.get(KEY, '{}')).get('transform')
    images = dict(model=content.config, test_dataloader=dict(dataset=dict(transform=transform)))
    config = Config(images, cfg_text=f'# of {checkpoint}\n', filename=checkpoint)
    preprocessor = getattr(model, 'data_preprocessor', None) or MODELS.build(dict(type='ImagePreprocessor'))
    return PackedSource(model, preprocessor, content.config, config, taken, content.metadata)
