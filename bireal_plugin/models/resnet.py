"""BiRealResNet: the backbone, for mmengine's root registry and with the keyword arguments of mmdet's ResNet."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from bireal_plugin.binary.conv import conv_factory
from bireal_plugin.binary.switch import WeightStep, set_activation, set_weights
from bireal_plugin.checkpoints.layouts import BLOCKS, BOTTLENECK, CIFAR
from bireal_plugin.checkpoints.loading import reporting
from bireal_plugin.errors import InputError, check_choice
from bireal_plugin.folding.engine_run import EngineRun
from bireal_plugin.folding.fold import fold_
from bireal_plugin.hosts.torch_private import NormWithStatistics
from bireal_plugin.models.blocks import BasicBlock, Bottleneck, PaddedShortcut, downsample
from bireal_plugin.models.norm import norm_factory
from bireal_plugin.models.stages import Block, Stage, Structure, advance

DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    depth: (Bottleneck if depth in BOTTLENECK else BasicBlock, blocks) for depth, blocks in BLOCKS.items()
}
TRANSITIONS = dict(conv=downsample, pad=PaddedShortcut)

REFUSED = {
    'dcn': 'deformable convolution samples real positions, which has no 1-bit form; leave dcn out',
    'plugins': 'plugins sit inside blocks whose every convolution has its own shortcut here; leave plugins out',
    'conv_cfg': 'it would also replace the stem and the shortcuts, which stay real; use conv=dict(type=...) instead',
    'drop_path_rate': 'a dropped path leaves the next sign nothing but the shortcut; leave drop_path_rate out or 0',
}
# What a conv_cfg may name without changing anything.
PLAIN_CONV = (None, 'Conv2d', 'Conv', nn.Conv2d)


def usual(depth: Any, num_stages: int | None = None) -> dict[str, Any]:
    """The defaults of ``BiRealResNet`` that depend on the depth: 20, 32 and 56 are ResNet's networks for CIFAR.

    Empty for depths that there are not.
    """
    if not isinstance(depth, int) or depth not in BLOCKS:
        return {}
    stages = len(BLOCKS[depth]) if num_stages is None else num_stages
    shape = dict(base_channels=16, stem='cifar') if depth in CIFAR else dict(base_channels=64, stem='imagenet')
    return dict(num_stages=stages, out_indices=tuple(range(stages)), **shape)


@MODELS.register_module()
class BiRealResNet(BaseModule):
    """ResNet trunk with 1-bit convolutions (Bi-Real Net, ECCV 2018 / IJCV).

    The same class is the pre-training network: with ``activation='relu'|'leaky_clip'|'clip'`` and ``weights='real'``
    nothing is binary and every state-dict name stays. Names are ResNet's (``conv1, bn1,
    layer{1..4}.{i}.{conv{k}, bn{k}, downsample}``), except that a basic block holds one convolution, ``downsample.0``
    is the average pool, and a bottleneck stage starts with ``narrow_shortcut``.

    Args:
        depth: 18, 34, 50, 101 or 152; 20, 32 or 56 for CIFAR, with three stages of 16, 32 and 64 channels.
        in_channels: channels of the image.
        stem_channels: channels after the stem; ``base_channels`` by default.
        base_channels: width of the first stage's narrow side (64 in the paper, 16 for CIFAR).
        num_stages, strides, dilations, out_indices, style, deep_stem, frozen_stages: as in mmdet. ResNetV1c and
            ResNetV1d are ``deep_stem=True``.
        norm_cfg, norm_eval, with_cp, init_cfg: as in mmdet, but ``norm_eval`` is False by default: statistics must
            follow the binarization.
        avg_down: accepted and without effect: the shortcut always averages.
        zero_init_residual: zero the last scale of each block.
        multi_grid, contract_dilation: as in mmseg: dilations of the last stage's blocks, counted as ResNet counts them;
            half the dilation in the first block of a dilated stage.
        expansion: as in mmpretrain; accepted if it is that of the depth (1 or 4), or None.
        structure: 'bireal', 'resnet' or 'plain' (Fig. 10).
        activation: before each 1-bit convolution: 'sign', or the real 'relu', 'leaky_clip', 'clip'.
        weights: 'binary'; 'step1' for 1x1 convolutions only (two-step scheme); 'real'.
        conv: the 1-bit convolution: 'BinaryConv2d', 'XNORConv2d', 'ABCConv2d', or a dict of type and its own options.
        sign: surrogate of sign's derivative; None leaves it to the convolution's type.
        weight: weight binarizer; None leaves it to the convolution's type.
        rsign, rprelu: ReActNet's learned shift before every sign and RPReLU after every addition, see ``blocks.py``.
        stem: 'imagenet' (7x7 stride 2, max pool) or 'cifar' (3x3 stride 1, no pool); by default as the depth has it.
        transition: the shortcut from stage to stage: 'conv' (average pool, 1x1 convolution, norm), or 'pad' (every
            second pixel and zero channels, without parameters: ResNet's option A).

    Raises:
        InputError: a value is unknown, refused (dcn, plugins, conv_cfg, drop_path_rate) or does not fit the others.
    """

    usual = staticmethod(usual)
    deploy = False
    engine_run: EngineRun | None = None
    told_of_size = False

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        stem_channels: int | None = None,
        base_channels: int | None = None,
        num_stages: int | None = None,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        out_indices: Sequence[int] | None = None,
        style: str = 'pytorch',
        deep_stem: bool = False,
        avg_down: bool = True,
        frozen_stages: int = -1,
        conv_cfg: Any = None,
        norm_cfg: Mapping[str, Any] | None = None,
        norm_eval: bool = False,
        dcn: Any = None,
        stage_with_dcn: Sequence[bool] = (False, False, False, False),
        plugins: Any = None,
        with_cp: bool = False,
        zero_init_residual: bool = False,
        pretrained: str | None = None,
        init_cfg: Any = None,
        *,
        multi_grid: Sequence[int] | None = None,
        contract_dilation: bool = False,
        expansion: int | None = None,
        drop_path_rate: float = 0.0,
        structure: Structure = 'bireal',
        activation: str = 'sign',
        weights: WeightStep = 'binary',
        sign: Any = None,
        weight: Any = None,
        conv: Any = 'BinaryConv2d',
        rsign: bool = False,
        rprelu: bool = False,
        stem: str | None = None,
        transition: str = 'conv',
    ) -> None:
        if conv_cfg is not None and dict(conv_cfg).get('type') in PLAIN_CONV and len(conv_cfg) <= 1:
            conv_cfg = None
        given = dict(dcn=dcn, plugins=plugins or None, conv_cfg=conv_cfg, drop_path_rate=drop_path_rate or None)
        for name, value in given.items():
            if value is not None:
                raise InputError(f'BiRealResNet does not take {name}: {REFUSED[name]}')
        check_choice('BiRealResNet', 'depth', depth, DEPTHS)
        check_choice('BiRealResNet', 'structure', structure, get_args(Structure))
        block, counts = DEPTHS[depth]
        own_defaults = usual(depth, num_stages)
        base_channels, stem = base_channels or own_defaults['base_channels'], stem or own_defaults['stem']
        num_stages = own_defaults['num_stages'] if num_stages is None else num_stages
        out_indices = own_defaults['out_indices'] if out_indices is None else out_indices
        check_choice('BiRealResNet', 'stem', stem, ('imagenet', 'cifar'))
        check_choice('BiRealResNet', 'transition', transition, TRANSITIONS)
        check_choice('BiRealResNet', 'style', style, ('pytorch', 'caffe'))
        if not 1 <= num_stages <= len(counts) or len(strides) < num_stages or len(dilations) < num_stages:
            raise InputError(
                f'num_stages={num_stages} must be 1 to {len(counts)} with depth={depth} and have a stride and a '
                f'dilation each, got strides={tuple(strides)} and dilations={tuple(dilations)}'
            )
        if not out_indices or not set(out_indices) <= set(range(num_stages)):
            raise InputError(f'out_indices={tuple(out_indices)} must name some of the stages 0 to {num_stages - 1}')
        if not -1 <= frozen_stages <= num_stages:
            raise InputError(f'frozen_stages={frozen_stages} must be -1 (nothing frozen) to {num_stages}')
        if pretrained is not None:
            init_cfg = dict(type='Pretrained', checkpoint=pretrained)
        super().__init__(init_cfg)

        self.depth, self.num_stages, self.out_indices = depth, num_stages, tuple(out_indices)
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        check_choice('BiRealResNet', 'expansion', expansion, (None, block.expansion))
        norm = norm_factory(norm_cfg or dict(type='BN'))
        make_conv = conv_factory(conv, sign=sign, weight=weight)
        shared: dict[str, Any] = dict(conv=make_conv, norm=norm, structure=structure, rsign=rsign, rprelu=rprelu)
        shared['transition'] = TRANSITIONS[transition]

        width = stem_channels or base_channels
        self.deep_stem = deep_stem
        if deep_stem:
            self.stem = _deep_stem(in_channels, width, stride=2 if stem == 'imagenet' else 1, norm=norm)
        else:
            kernel = dict(kernel_size=7, stride=2, padding=3) if stem == 'imagenet' else dict(kernel_size=3, padding=1)
            self.conv1 = nn.Conv2d(in_channels, width, bias=False, **kernel)  # type: ignore[arg-type]
            self.bn1 = norm(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == 'imagenet' else nn.Identity()

        self.feature_info: list[dict[str, Any]] = []
        reduction = 4 if stem == 'imagenet' else 1
        narrow = width
        for stage in range(num_stages):
            channels = base_channels * 2**stage
            blocks: list[Block] = []
            in_stock_block = 2 if block is BasicBlock else 1  # how many of our blocks one of ResNet's becomes
            grid = multi_grid if stage == num_stages - 1 else None
            dilation = _dilations(
                counts[stage] // in_stock_block, dilations[stage], contract=contract_dilation, multi_grid=grid
            )
            for i in range(counts[stage]):
                if block is BasicBlock:
                    own: dict[str, Any] = dict(opens=i % 2 == 0)
                else:
                    first = stage == 0 and i == 0
                    own = dict(narrow_channels=narrow, first=first, stride_on_reduce=style == 'caffe')
                geometry: Any = dict(stride=strides[stage] if i == 0 else 1, dilation=dilation[i // in_stock_block])
                blocks.append(block(width, channels, **geometry, **own, **shared))
                blocks[-1].name = f'layer{stage + 1}.{i}'
                width, narrow = channels * block.expansion, channels  # type: ignore[operator]
            self.add_module(f'layer{stage + 1}', Stage(*blocks))
            reduction *= strides[stage]
            self.feature_info.append(dict(num_chs=width, reduction=reduction, module=f'layer{stage + 1}'))
        self.num_features, self.with_cp = width, with_cp

        self._reset_parameters(zero_init_residual)
        set_activation(self, activation)
        set_weights(self, weights)
        self._freeze()

    def _reset_parameters(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            elif isinstance(module, (BasicBlock, Bottleneck)) and zero_init_residual:
                last = module.bn1 if isinstance(module, BasicBlock) else module.bn3
                if last.weight is not None:
                    nn.init.zeros_(last.weight)  # type: ignore[arg-type]

    def init_weights(self) -> None:
        """As mmengine's; names of ``Pretrained`` weights are mapped too, and the log counts them.

        Raises:
            InputError: nothing of the pretrained weights fits, or they cannot be read.
        """
        given = self.init_cfg  # type: ignore[has-type]
        self.init_cfg = reporting(given)
        try:
            super().init_weights()
        finally:
            self.init_cfg = given

    @staticmethod
    def _checkpoint_filter(state: dict[str, Any], prefix: str, *_: Any) -> None:
        """mmpretrain's hook before it loads weights: ``fc`` of a BiRealClassifier is its ``head.fc``."""
        for name in [name for name in state if name.startswith(f'{prefix}fc.')]:
            state[f'{prefix}head.{name.removeprefix(prefix)}'] = state.pop(name)

    @property
    def with_cp(self) -> bool:
        """Whether every block is recomputed in backward."""
        return any(module.with_cp for module in self.modules() if isinstance(module, Block))

    @with_cp.setter
    def with_cp(self, enable: bool) -> None:
        for module in self.modules():
            if isinstance(module, Block):
                module.with_cp = enable

    @property
    def stages(self) -> list[Stage]:
        """The stages present, shallow to deep."""
        return [getattr(self, f'layer{stage + 1}') for stage in range(self.num_stages)]

    def forward_stem(self, x: Tensor) -> Tensor:
        """Image ``(N, C, H, W)`` to the input of the first stage; no activation, since a sign follows."""
        x = self.stem(x) if self.deep_stem else self.bn1(self.conv1(x))
        return self.maxpool(x)

    def forward_stages(self, x: Tensor, count: int | None = None) -> list[Tensor]:
        """The output of every stage (of the first ``count``), from the stem's output."""
        return [x := advance(stage, x) for stage in self.stages[:count]]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Image ``(N, in_channels, H, W)`` to the feature maps of ``out_indices``, strides 4, 8, 16, 32 by default."""
        if self.engine_run is not None:
            return self.engine_run(self, x)
        if self.training and not self.told_of_size:
            self._tell_of_size(x)
        outputs = self.forward_stages(self.forward_stem(x))
        return tuple(outputs[i] for i in self.out_indices)

    def _tell_of_size(self, x: Tensor) -> None:
        """Warn once of training images of which one pixel is left: those of CIFAR behind ImageNet's stem."""
        if torch.compiler.is_compiling() or not isinstance(x, Tensor):  # a tracer's proxy
            return
        self.told_of_size, (height, width) = True, x.shape[-2:]
        if isinstance(self.maxpool, nn.MaxPool2d) and max(height, width) <= self.feature_info[-1]['reduction']:
            print_log(
                f'BiRealResNet: of images of {height} x {width} its stem and stages leave one pixel; small images take '
                "stem='cifar' (or type='BiRealResNet_CIFAR', where mmpretrain's ResNet_CIFAR was)",
                logger='current',
                level=logging.WARNING,
            )

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        stem = [self.stem] if self.deep_stem else [self.conv1, self.bn1]
        for module in (*stem, *self.stages[: self.frozen_stages]):
            module.eval().requires_grad_(False)

    def switch_to_deploy(self, engine: str = 'torch') -> None:
        """Fold in place for inference, see ``fold_``; a second call changes the engine alone.

        Afterwards ``deploy`` is True, no parameter requires a gradient and ``train()`` keeps evaluation mode: heads
        behind this network can still be trained, the network itself cannot. Load trained weights before the switch;
        weights saved after it load into a network that was built and switched in the same way.

        Args:
            engine: 'torch' calls the layers one by one; 'c' and 'openvino' run the whole network on a CPU, compiled at
                the first call with images of a size (which takes seconds).

        Raises:
            InputError: the network is not binary yet, or there is no such engine; nothing is changed.
        """
        engine_run = None if engine == 'torch' else EngineRun(engine)
        if not self.deploy:
            fold_(self)
            self.deploy = True
        self.engine_run = engine_run

    def train(self, mode: bool = True) -> BiRealResNet:
        """Training mode, in which frozen stages and (``norm_eval``) BatchNorm statistics stay as they are.

        A network that was switched to deployment stays in evaluation mode.
        """
        super().train(mode and not self.deploy)
        self._freeze()
        if self.training and self.norm_eval:
            for module in self.modules():
                if isinstance(module, NormWithStatistics):
                    module.eval()
        return self


def _dilations(blocks: int, dilation: int, *, contract: bool, multi_grid: Sequence[int] | None) -> Sequence[int]:
    """The dilation of each of the ``blocks`` that a stage of ResNet has, under mmseg's two options."""
    if multi_grid is None:
        return [max(dilation // 2, 1) if contract else dilation] + [dilation] * (blocks - 1)
    if len(multi_grid) != blocks:
        raise InputError(
            f"multi_grid={tuple(multi_grid)} must have a dilation for each of the last stage's {blocks} blocks"
        )
    return multi_grid


def _deep_stem(in_channels: int, width: int, *, stride: int, norm: Any) -> nn.Sequential:
    """Three 3x3 convolutions (ResNet-C) at mmdet's indices; ReLU between them, none at the end as in the plain stem."""
    widths = (in_channels, width // 2, width // 2, width)
    layers: list[nn.Module] = []
    for k, (before, after) in enumerate(pairwise(widths)):
        conv = nn.Conv2d(before, after, 3, stride=1 if k else stride, padding=1, bias=False)
        layers += [conv, norm(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])
