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
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from bireal_plugin.binary.switch import binary_convolutions
from bireal_plugin.checkpoints.file import read_checkpoint, state_dict_of
from bireal_plugin.checkpoints.loading import load_weights
from bireal_plugin.dry_run import input_shape
from bireal_plugin.errors import InputError
from bireal_plugin.folding.fold import fold
from bireal_plugin.training.check import stage_config
from bireal_plugin.training.config import config_mistakes

Part = Literal['backbone', 'backbone+neck']
TEACHING = ('teacher', 'teacher_checkpoint', 'label_weight')
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


def checkpoint_stage(config: Config, checkpoint: str | Path, stage: str | None) -> Config:
    """The ordinary config of ``checkpoint``: of a recipe the stage named, else its folder's, else the last.

    Raises:
        InputError: a stage is named that there is not.
    """
    if not config.get('stages'):
        if stage is not None:
            raise InputError(f'--stage {stage}: {config.filename} has no stages')
        return config
    folder = Path(checkpoint).resolve().parent.name
    chosen = stage or (folder if folder in config.stages else list(config.stages)[-1])
    merged = stage_config(config, chosen)
    merged.stage = chosen
    return merged


def load_network(config: Config, checkpoint: str | Path, *, part: Part | None = None) -> Network:
    """Build the model of an ordinary config (``checkpoint_stage``), load all of ``checkpoint``, and fold it.

    Args:
        part: of a model with a backbone, what to export: by default a detector's backbone and neck, a classifier whole.

    Raises:
        InputError: the model cannot be built, has no such part or cannot be folded, or the weights are another's.
    """
    where = str(config.filename)
    if 'model' not in config:
        raise InputError(f'{where} has no model')
    scope = config.get('default_scope') or 'mmengine'
    with config_mistakes(where), DefaultScope.overwrite_default_scope(scope):
        whole = MODELS.build(_deployed(config.model))
        preprocessor = getattr(whole, 'data_preprocessor', None)
        if preprocessor is None:
            preprocessor = MODELS.build(config.get('data_preprocessor') or dict(type='ImagePreprocessor'))
    source = str(checkpoint)
    load_weights(whole, state_dict_of(read_checkpoint(checkpoint), source), source=source, strict=True)
    if config.get('absorb_scales'):
        check_absorbed(whole, source, config.get('stage'))
    whole.eval()
    model, packed_config = _part(whole, _deployed(config.model), part, where)
    channels = input_shape(model)[0]

    def normalise(images: Tensor) -> Tensor:
        with torch.no_grad():
            return preprocessor(dict(inputs=images, data_samples=None), False)['inputs'].float().contiguous()

    # The pipelines in front of OpenMMLab's preprocessors read pictures with OpenCV.
    bgr = isinstance(preprocessor, ImgDataPreprocessor)
    return Network(fold(model), packed_config, normalise, channels, bgr)


def tested_size(config: Config, model: nn.Module) -> tuple[int, int]:
    """Height and width that a config tests with: its ``Resize`` rounded up to 32, its crop, else the model's own."""
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    for step in dataset.get('pipeline') or []:
        if step['type'] == 'Resize' and isinstance(step.get('scale'), (tuple, list)):
            width, height = (math.ceil(side / DIVISOR) * DIVISOR for side in step['scale'])
            return height, width
    crop = (dataset.get('transform') or {}).get('crop')
    size = crop or dataset.get('size')
    return (size, size) if isinstance(size, int) else input_shape(model)[1:]


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


def _deployed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without a distilled classifier's teacher, whose file may be gone once it has taught."""
    if config.get('type') != 'DistilledClassifier':
        return config
    kept = {key: value for key, value in config.items() if key not in TEACHING}
    return {**kept, 'type': 'BiRealClassifier'}


def _packable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without what loads weights, since a packed file has them inside."""
    kept = {key: value for key, value in config.items() if key not in ('init_cfg', 'pretrained')}
    return {key: _packable(value) if key == 'backbone' else value for key, value in kept.items()}


def check_absorbed(model: nn.Module, source: str, stage: str | None) -> None:
    """Refuse real weights in a stage whose signs carry no scale: it would give other numbers than the stage before."""
    for name, conv in binary_convolutions(model):
        if not bool((conv.weight.abs() == 1).all()):
            raise InputError(
                f'{source}: {name} has real weights, but stage {stage} has weights of +-1 alone; if the checkpoint is '
                'of an earlier stage, name that with --stage'
            )


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
