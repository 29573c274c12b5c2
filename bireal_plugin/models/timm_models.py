"""timm entry points ``bireal_resnet{18,34,50,101,152}``: the same trunk with timm's classifier interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import create_classifier
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from bireal_plugin.hosts.timm_private import feature_take_indices
from bireal_plugin.models.resnet import DEPTHS, BiRealResNet


class TimmBiRealResNet(BiRealResNet):
    """BiRealResNet with timm's interface; state-dict names are the backbone's plus ``fc``.

    Args:
        depth: see ``BiRealResNet``, whose other keyword arguments pass through.
        num_classes, in_chans, global_pool, drop_rate: as everywhere in timm.
    """

    def __init__(
        self,
        depth: int,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        **backbone: Any,
    ) -> None:
        super().__init__(depth, in_channels=in_chans, **backbone)
        stem = self.conv1 if not self.deep_stem else self.stem[-2]
        stem_module = 'stem' if self.deep_stem else 'bn1'
        stem_stride = 1 if isinstance(self.maxpool, nn.Identity) else 2
        self.feature_info = [
            dict(num_chs=stem.out_channels, reduction=stem_stride, module=stem_module),
            *self.feature_info,
        ]
        self.num_classes, self.in_chans, self.drop_rate = num_classes, in_chans, drop_rate
        self.head_hidden_size = self.num_features
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, pool_type=global_pool)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns that group parameters by depth (layer-wise learning rates)."""
        return dict(stem=r'^conv1|bn1|stem', blocks=r'^layer(\d+)' if coarse else r'^layer(\d+)\.(\d+)')

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute every block in backward."""
        self.with_cp = enable

    def get_classifier(self) -> nn.Module:
        """The linear layer."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str = 'avg') -> None:
        """A fresh linear layer (none for 0 classes) on the same trunk."""
        self.num_classes = num_classes
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, pool_type=global_pool)
        weight = next(self.parameters())
        self.fc.to(weight.device, weight.dtype)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` to the last feature map."""
        return self.forward_stages(self.forward_stem(x))[-1]

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
        """Drop the stages behind the last index asked for, and the classifier."""
        take, last = feature_take_indices(len(self.feature_info), indices)
        for stage in range(last, self.num_stages):
            delattr(self, f'layer{stage + 1}')
        self.num_stages = last
        if prune_head:
            self.reset_classifier(0, '')
        return take


DEFAULT_CFG: dict[str, Any] = {
    'url': '',
    'num_classes': 1000,
    'input_size': (3, 224, 224),
    'pool_size': (7, 7),
    'crop_pct': 0.875,
    'interpolation': 'bilinear',
    'mean': IMAGENET_DEFAULT_MEAN,
    'std': IMAGENET_DEFAULT_STD,
    'first_conv': 'conv1',
    'classifier': 'fc',
    'license': 'apache-2.0',
}
default_cfgs = generate_default_cfgs({f'bireal_resnet{depth}.untrained': DEFAULT_CFG for depth in DEPTHS})


def _entry_point(depth: int) -> Callable[..., nn.Module]:
    """The function that ``timm.create_model('bireal_resnet{depth}')`` calls."""
    name = f'bireal_resnet{depth}'

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        feature_cfg = dict(
            out_indices=(0, 1, 2, 3, 4), feature_cls='getter'
        )  # timm changes it, so each call has its own
        return build_model_with_cfg(TimmBiRealResNet, name, pretrained, feature_cfg=feature_cfg, depth=depth, **kwargs)

    create.__name__ = name
    create.__doc__ = f'Bi-Real Net with {depth} layers{", two streams" if depth >= 50 else ""}.'
    return register_model(create)


bireal_resnet18, bireal_resnet34, bireal_resnet50, bireal_resnet101, bireal_resnet152 = map(_entry_point, DEPTHS)
