"""Networks that an inference benchmark puts side by side.

* ``ours``: the Bi-Real network, folded.
* ``twin``: the same trunk with Clip and real weights.
* ``torchvision``: torchvision's ResNet of the same depth; only where it does the same work, that is for a network of
  the usual width with the usual stem.

Weights are random unless a checkpoint is given. They look like trained ones where it could matter (BatchNorm statistics
and affine maps of order 1); no engine's speed depends on more.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torchvision
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from bireal_plugin.checkpoints.layouts import CIFAR
from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.format import is_packed
from bireal_plugin.folding.fold import fold
from bireal_plugin.hosts.torch_private import BatchNorm
from bireal_plugin.models.resnet import DEPTHS, BiRealResNet, usual
from bireal_plugin.shipping.network import SIZE, Part, taken_size
from bireal_plugin.shipping.packed_source import open_source
from bireal_plugin.training.config import config_mistakes, load_config
from bireal_plugin.training.image_size import Size, tested_size
from bireal_plugin.training.recipe import chosen_stage
from bireal_plugin.training.trained import load_trained, trained_config
from bireal_plugin.zoo import is_address, name_in

Contender = Literal['ours', 'twin', 'torchvision']
SIDES: tuple[Contender, ...] = get_args(Contender)
REAL = dict(activation='clip', weights='real')
CLASSES = 1000
# Keywords of BiRealResNet that leave the amount of real work as it is, or that torchvision's ResNet is given too.
FREE = {
    *('type', 'depth', 'in_channels', 'out_indices', 'init_cfg', 'norm_cfg', 'norm_eval', 'frozen_stages', 'with_cp'),
    *('zero_init_residual', 'avg_down', 'conv', 'sign', 'weight', 'activation', 'weights', 'rsign', 'rprelu'),
}


@dataclass(frozen=True)
class Networks:
    """The sides of one model, in evaluation mode, mapping images ``(N, in_channels, H, W)`` to one or more outputs.

    ``size`` is the height and width of the images that a config's network was trained with, or else is tested with.
    """

    name: str
    in_channels: int
    sides: dict[Contender, nn.Module]
    size: Size | None = None


class TorchvisionTrunk(nn.Module):
    """The stages ``out_indices`` of a torchvision ResNet, as a backbone gives them."""

    def __init__(self, resnet: torchvision.models.ResNet, out_indices: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.stages = nn.ModuleList(getattr(resnet, f'layer{i + 1}') for i in range(max(out_indices) + 1))
        self.out_indices = out_indices

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images ``(N, C, H, W)`` to the feature maps of ``out_indices``."""
        x = self.stem(x)
        outputs = [x := stage(x) for stage in self.stages]
        return tuple(outputs[i] for i in self.out_indices)


def choose_sides(given: Sequence[str]) -> list[Contender]:
    """The sides called ``given``, in the order of ``SIDES``.

    Raises:
        InputError: there is no side of that name.
    """
    unknown = [name for name in given if name not in SIDES]
    if unknown:
        raise InputError(f'there is no side {unknown[0]!r}; there are {", ".join(SIDES)}')
    return [side for side in SIDES if side in given]


def load_networks(
    source: str,
    checkpoint: str | None = None,
    *,
    stage: str | None = None,
    allow_other_network: bool = False,
    sized: bool = False,
) -> Networks:
    """The networks of a built-in depth ('18', '34', '50', '101', '152'; for CIFAR '20', '32', '56') or of a config.

    Args:
        source: the depth, a packed file or its address, or the path of a config of a BiRealResNet: a classifier, the
            backbone alone, a depth network, or a detector, whose backbone is taken.
        checkpoint: file of trained weights for our side; a config only.
        stage: of a recipe; by default the checkpoint's, without a checkpoint the last.
        allow_other_network: see ``load_trained``.
        sized: find the size of the images, which is needed where no other is given.

    Raises:
        InputError: there is no such depth or config, or it has no BiRealResNet that can be folded, or the checkpoint
            is of another network.
    """
    if source.isdigit():
        if int(source) not in DEPTHS:
            raise InputError(f'there is no Bi-Real-{source}; the depths are {", ".join(map(str, DEPTHS))}')
        if checkpoint is not None or stage is not None:
            raise InputError(f'--checkpoint and --stage need the config that was trained with, not the depth {source}')
        depth, size, classes = int(source), None, CLASSES
        if depth in CIFAR:
            size, classes = (32, 32), 10
        model = dict(type='BiRealClassifier', backbone=dict(type='BiRealResNet', depth=depth), num_classes=classes)
        return replace(_networks(f'Bi-Real-{depth}', model), size=size)
    if is_packed(source):
        if checkpoint is not None or stage is not None:
            raise InputError(f'--checkpoint and --stage belong to a config; {source} has its weights inside')
        packed = open_source(source, {}, None if sized else (1, 1), SIZE)
        networks = _networks(name_in(source) if is_address(source) else Path(source).stem, packed.described)
        networks.sides['ours'] = packed.model
        return replace(networks, size=packed.size[0])
    config = load_config(source)
    choices: Any = dict(stage=stage, allow_other_network=allow_other_network)
    config = chosen_stage(config, stage) if checkpoint is None else trained_config(config, checkpoint, **choices)
    model, part = _benchmarked(config, source)
    with config_mistakes(source):
        networks = _networks(Path(source).stem, model)
    if checkpoint is not None:
        trained = load_trained(config, checkpoint, **choices)[0]
        networks.sides['ours'] = fold(trained if part is None else trained.backbone)  # type: ignore[arg-type]
    if not sized:
        return networks
    size = tested_size(config) if checkpoint is None else taken_size(None, config, config, checkpoint)[0]
    return replace(networks, size=size)


def _benchmarked(config: Config, path: str) -> tuple[dict[str, Any], Part | None]:
    """Config of the network to run of an ordinary config, and the part that it is of the config's model."""
    model = config.to_dict().get('model')
    if not isinstance(model, dict):
        raise InputError(f'{path} has no model')
    if model.get('type') == 'BiRealResNet':
        return model, None
    backbone = model.get('backbone')
    if not isinstance(backbone, dict) or backbone.get('type') != 'BiRealResNet':
        raise InputError(f'{path}: model.backbone must be of type BiRealResNet to be benchmarked')
    if _runs_whole(model):
        return model, None
    if 'num_classes' in model:
        return dict(type='BiRealClassifier', backbone=backbone, num_classes=model['num_classes']), None
    return backbone, 'backbone'


def _networks(name: str, config: Mapping[str, Any]) -> Networks:
    trunk = config.get('backbone', config)
    channels = trunk.get('in_channels', 3)
    twin = copy.deepcopy(dict(config))
    twin.get('backbone', twin).update(REAL)
    torch.manual_seed(0)
    sides: dict[Contender, nn.Module] = dict(
        ours=fold(with_trained_statistics(MODELS.build(dict(config)))), twin=with_trained_statistics(MODELS.build(twin))
    )
    if not _runs_whole(config) and _has_stock_size(trunk):
        resnet = getattr(torchvision.models, f'resnet{trunk["depth"]}')(num_classes=config.get('num_classes', CLASSES))
        if channels != 3:
            resnet.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        if 'backbone' not in config:
            resnet = TorchvisionTrunk(resnet, tuple(trunk.get('out_indices', (0, 1, 2, 3))))
        sides['torchvision'] = with_trained_statistics(resnet)
    return Networks(name, channels, sides)


def _runs_whole(model: Mapping[str, Any]) -> bool:
    """Whether the model of a config says that it is timed as a whole, instead of its backbone."""
    return getattr(MODELS.get(model['type']), 'runs_whole', False)


def _has_stock_size(trunk: Mapping[str, Any]) -> bool:
    """Whether everything in a BiRealResNet's config that decides its size is as by default."""
    if trunk['depth'] in CIFAR:
        return False
    defaults = {name: parameter.default for name, parameter in signature(BiRealResNet).parameters.items()}
    defaults |= usual(trunk['depth'])
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in trunk.items()}
    return all(name in FREE or value in (None, defaults[name]) for name, value in given.items())


def with_trained_statistics(model: nn.Module) -> nn.Module:
    """``model`` in evaluation mode, every BatchNorm's statistics and affine map drawn as training might leave them."""
    for module in model.modules():
        if isinstance(module, BatchNorm) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.3, 1)
                nn.init.normal_(module.bias, 0, 0.3)
    return model.eval()
