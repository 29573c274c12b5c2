"""timm entry points ``bireal_resnet{18,34,50,101,152}``, of CIFAR ``{20,32,56}``: trunks with timm's interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmengine.registry import MODELS
from timm.layers import create_classifier
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model, resolve_pretrained_cfg
from torch import Tensor, nn

from bireal_plugin.binary.switch import latent_weights
from bireal_plugin.checkpoints.layouts import BASIC, BLOCKS, BOTTLENECK, CIFAR
from bireal_plugin.errors import InputError, check_choice
from bireal_plugin.hosts.timm_private import feature_take_indices
from bireal_plugin.models.resnet import DEPTHS, BiRealResNet
from bireal_plugin.zoo import ZOO, config_of, local_file, names


@MODELS.register_module()
class TimmBiRealResNet(BiRealResNet):
    """BiRealResNet with timm's interface; state-dict names are the backbone's plus ``fc``.

    Args:
        depth: see ``BiRealResNet``, whose other keyword arguments pass through.
        num_classes, in_chans, global_pool, drop_rate: as everywhere in timm.
        output_stride: 32, 16 or 8: stages beyond it are dilated instead of strided, as in timm's ResNet.
    """

    def __init__(
        self,
        depth: int,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        output_stride: int = 32,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        **backbone: Any,
    ) -> None:
        check_choice('TimmBiRealResNet', 'output_stride', output_stride, (8, 16, 32))
        self.arguments = dict(depth=depth, in_chans=in_chans, output_stride=output_stride, **backbone)
        if output_stride != 32:
            backbone = {**backbone, **_dilated(output_stride, backbone)}
        super().__init__(depth, in_channels=in_chans, **backbone)
        stem = self.conv1 if not self.deep_stem else self.stem[-2]
        stem_module = 'stem' if self.deep_stem else 'bn1'
        stem_stride = 1 if isinstance(self.maxpool, nn.Identity) else 2
        self.feature_info = [
            dict(num_chs=stem.out_channels, reduction=stem_stride, module=stem_module),
            *self.feature_info,
        ]
        self.in_chans, self.drop_rate = in_chans, drop_rate
        self._set_classifier(num_classes, global_pool)

    @property
    def config(self) -> dict[str, Any]:
        """The config by which ``MODELS`` builds this network, as a packed file keeps it."""
        head = dict(num_classes=self.num_classes, global_pool=self.global_pool.pool_type)
        return dict(type=type(self).__name__, **self.arguments, **head)

    def _set_classifier(self, num_classes: int, global_pool: str) -> None:
        self.num_classes = num_classes
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, pool_type=global_pool)
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()

    def no_weight_decay(self) -> set[str]:
        """Names of latent weights, which only their signs need; none while the network is real."""
        return latent_weights(self)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns that group parameters by depth (layer-wise learning rates)."""
        return dict(stem=r'^conv1|bn1|stem', blocks=r'^layer(\d+)' if coarse else r'^layer(\d+)\.(\d+)')

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute every block in backward."""
        self.with_cp = enable

    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        """The linear layer, or its name."""
        return 'fc' if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh linear layer (none for 0 classes) on the same trunk; pooling stays unless another is named."""
        self._set_classifier(num_classes, self.global_pool.pool_type if global_pool is None else global_pool)
        weight = next(self.parameters())
        for module in (self.global_pool, self.fc):
            module.to(weight.device, weight.dtype).train(self.training)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` to the last feature map."""
        x = self.forward_stem(x)
        return [x, *self.forward_stages(x)][-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature map to logits, or to pooled features with ``pre_logits``."""
        x = self.global_pool(x)
        if self.drop_rate:
            x = nn.functional.dropout(x, self.drop_rate, training=self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Images ``(N, C, H, W)`` to logits ``(N, num_classes)``."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> Any:
        """Stem output (index 0, stride 2) and stage outputs (1 to 4), picked by ``indices`` as in every timm model."""
        assert output_fmt == 'NCHW', 'Output shape must be NCHW.'
        take, last = feature_take_indices(len(self.feature_info), indices)
        stem = self.stem(x) if self.deep_stem else self.bn1(self.conv1(x))
        outputs = [stem, *self.forward_stages(self.maxpool(stem), count=last if stop_early else None)]
        intermediates = [outputs[i] for i in take]
        return intermediates if intermediates_only else (outputs[-1], intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages behind the last index asked for, and the classifier, which is for the last of all."""
        take, last = feature_take_indices(len(self.feature_info), indices)
        prune_head = prune_head or last < self.num_stages
        for stage in range(last, self.num_stages):
            delattr(self, f'layer{stage + 1}')
        self.num_stages, self.num_features = last, self.feature_info[last]['num_chs']
        self.arguments |= dict(num_stages=last, out_indices=(last - 1,))
        if last == 0:
            self.maxpool = nn.Identity()
        if prune_head:
            self.reset_classifier(0, '')
        return take


def _dilated(output_stride: int, backbone: dict[str, Any]) -> dict[str, Any]:
    """Strides and dilations by which the last stage has ``output_stride``."""
    for name in ('strides', 'dilations'):
        if name in backbone:
            raise InputError(f'TimmBiRealResNet: give output_stride={output_stride} or {name}, not both')
    reached, dilation, strides, dilations = 1 if backbone.get('stem') == 'cifar' else 4, 1, [], []
    for stride in (1, 2, 2, 2):
        if reached * stride > output_stride:
            stride, dilation = 1, dilation * stride
        reached *= stride
        strides.append(stride)
        dilations.append(dilation)
    return dict(strides=strides, dilations=dilations, contract_dilation=True)


# The rest is timm's default: 3 x 224 x 224, the central 87.5 %, ImageNet's mean and std.
CONFIG = dict(pool_size=(7, 7), interpolation='bilinear', first_conv='conv1', classifier='fc', license='apache-2.0')
CIFAR10 = dict(num_classes=10, input_size=(3, 32, 32), pool_size=(8, 8), crop_pct=1.0)
CIFAR10 |= dict(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
# Networks of the zoo whose training state it has, by their names here; arguments that they are built with. One that is
# just being written is not there yet.
BY_TAG = {'bireal_resnet18.imagenette': 'bireal_r18_imagenette'}
SHIPPED = {name: entry for name, entry in BY_TAG.items() if entry in names()}
NOT_ARGUMENTS = ('type', 'depth', 'in_channels', 'out_indices')
ARGUMENTS = {
    name: {key: value for key, value in config_of(entry)['model']['backbone'].items() if key not in NOT_ARGUMENTS}
    for name, entry in SHIPPED.items()
}


def _pretrained_config(entry: str) -> dict[str, Any]:
    """timm's description of a network of the zoo, from the config that trained it."""
    config = config_of(entry)
    model, transform = config['model'], config['test_dataloader']['dataset']['transform']
    mean, std = (tuple(value / 255 for value in model['data_preprocessor'][key]) for key in ('mean', 'std'))
    return dict(
        CONFIG,
        file=str(local_file(f'{ZOO}{entry}/training')),
        num_classes=model['num_classes'],
        label_names=tuple(config['names'].values()),
        input_size=(model['backbone'].get('in_channels', 3), transform['crop'], transform['crop']),
        crop_pct=transform['crop'] / transform['shorter_side'],
        pool_size=tuple(-(-transform['crop'] // 32) for _ in 'hw'),
        mean=mean,
        std=std,
    )


# A name without a tag stays untrained: the star says so, and what has weights stands before it.
configs: dict[str, Any] = {name: _pretrained_config(entry) for name, entry in SHIPPED.items()}
default_cfgs = generate_default_cfgs(
    configs | {f'bireal_resnet{depth}.untrained*': CONFIG | (CIFAR10 if depth in CIFAR else {}) for depth in DEPTHS}
)


def _without_backbone(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Names of a BiRealClassifier's weights as this module has them."""
    return {name.removeprefix('backbone.'): value for name, value in state.items()}


def _entry_point(depth: int) -> Callable[..., nn.Module]:
    """The function that ``timm.create_model('bireal_resnet{depth}')`` calls."""
    name = f'bireal_resnet{depth}'

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        levels = range(len(BLOCKS[depth]) + 1)
        feature_cfg = dict(out_indices=levels, feature_cls='getter')  # of each call: timm changes it
        if kwargs.get('deep_stem'):
            kwargs['pretrained_cfg_overlay'] = {'first_conv': 'stem.0', **(kwargs.get('pretrained_cfg_overlay') or {})}
        tag = resolve_pretrained_cfg(name, kwargs.get('pretrained_cfg')).tag  # from a tag, a dict or an object
        kwargs = {**ARGUMENTS.get(f'{name}.{tag}', {}), **kwargs}
        kwargs |= dict(depth=depth, feature_cfg=feature_cfg, pretrained_filter_fn=_without_backbone)
        return build_model_with_cfg(TimmBiRealResNet, name, pretrained, **kwargs)

    create.__name__ = name
    create.__doc__ = f'Bi-Real Net with {depth} layers.'
    return register_model(create)


bireal_resnet18, bireal_resnet34 = map(_entry_point, BASIC)
bireal_resnet50, bireal_resnet101, bireal_resnet152 = map(_entry_point, BOTTLENECK)
bireal_resnet20, bireal_resnet32, bireal_resnet56 = map(_entry_point, CIFAR)
