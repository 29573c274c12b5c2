"""Untrained ResNets of the libraries whose models ``binarize`` converts, narrow where the library lets them be.

``MiniResNet`` stands for mmpretrain (not installed in the tests), with its names and its forward.
"""

from functools import partial

import timm
import torchvision
from torch import nn
from torchvision.models.resnet import ResNet as TorchvisionResNet

TORCHVISION = ['resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnext50_32x4d', 'wide_resnet50_2']
TIMM = [*TORCHVISION, 'seresnet18', 'seresnet50', 'ecaresnet50d', 'resnet50d', 'resnetrs50', 'resnet50_gn']


class MiniBlock(nn.Module):
    """mmpretrain's block: normalisations behind properties, ``drop_path``, two or three convolutions."""

    def __init__(self, inplanes, planes, *, stride, bottleneck, norm_name):
        super().__init__()
        widths = [(inplanes, planes, 1), (planes, planes, 3), (planes, 4 * planes, 1)]
        widths = widths if bottleneck else [(inplanes, planes, 3), (planes, planes, 3)]
        strides = [1, stride, 1] if bottleneck else [stride, 1]
        self.names = []
        for k, ((before, after, kernel), step) in enumerate(zip(widths, strides, strict=True), 1):
            self.add_module(f'conv{k}', nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False))
            norm = nn.GroupNorm(4, after) if norm_name == 'gn' else nn.BatchNorm2d(after)
            self.add_module(f'{norm_name}{k}', norm)
            self.names.append((f'conv{k}', f'{norm_name}{k}'))
        self.norm_name = norm_name
        self.relu = nn.ReLU(inplace=True)
        out = widths[-1][1]
        self.downsample = None
        if stride != 1 or inplanes != out:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.drop_path = nn.Identity()

    norm1 = property(lambda self: getattr(self, f'{self.norm_name}1'))
    norm2 = property(lambda self: getattr(self, f'{self.norm_name}2'))
    norm3 = property(lambda self: getattr(self, f'{self.norm_name}3'))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        for i, (conv, norm) in enumerate(self.names):
            x = getattr(self, norm)(getattr(self, conv)(x))
            x = self.relu(x) if i < len(self.names) - 1 else x
        return self.relu(self.drop_path(x) + identity)


class MiniResNet(nn.Module):
    """Two stages of two blocks; a tuple of feature maps, as OpenMMLab's backbones return."""

    def __init__(self, *, bottleneck=True, norm_name='bn', width=8, block=MiniBlock, stem_activation=True):
        super().__init__()
        block = partial(block, bottleneck=bottleneck, norm_name=norm_name)
        expansion = 4 if bottleneck else 1
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True) if stem_activation else None
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(block(width, width, stride=1), block(expansion * width, width, stride=1))
        self.layer2 = nn.Sequential(
            block(expansion * width, 2 * width, stride=2), block(2 * expansion * width, 2 * width, stride=1)
        )

    def forward(self, x):
        x = self.bn1(self.conv1(x))
        x = x.relu() if self.relu is None else self.relu(x)
        first = self.layer1(self.maxpool(x))
        return first, self.layer2(first)


def tiny_bottleneck():
    """torchvision's ResNet of bottlenecks, two blocks in the first two stages, narrow streams of 8 to 64 channels."""
    return TorchvisionResNet(torchvision.models.resnet.Bottleneck, [2, 2, 1, 1], num_classes=5, width_per_group=8)


def tiny_basic():
    """timm's ResNet of basic blocks, one per stage, 64 and then 16 channels."""
    channels = (64, 16, 16, 16)
    block = timm.models.resnet.BasicBlock
    return timm.models.resnet.ResNet(block, (1,) * 4, num_classes=5, channels=channels, zero_init_last=False)


def mmdet_resnet(depth, **options):
    """mmdet's backbone; import errors are the caller's."""
    from mmdet.models.backbones import ResNet

    return ResNet(depth, **{'base_channels': 16, **options})


HOSTS = {f'torchvision {name}': partial(getattr(torchvision.models, name)) for name in TORCHVISION}
HOSTS |= {f'timm {name}': partial(timm.create_model, name) for name in TIMM}
HOSTS |= {
    'mmdet 18': partial(mmdet_resnet, 18),
    'mmdet 50': partial(mmdet_resnet, 50),
    'mmdet caffe 50': partial(mmdet_resnet, 50, style='caffe', frozen_stages=-1),
    'mmdet deep stem, average down, checkpoints': partial(
        mmdet_resnet, 50, deep_stem=True, avg_down=True, with_cp=True
    ),
    'mmdet dilated gn': partial(
        mmdet_resnet, 18, norm_cfg=dict(type='GN', num_groups=4), strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)
    ),
    'mmpretrain-like basic': partial(MiniResNet, bottleneck=False),
    'mmpretrain-like gn': partial(MiniResNet, norm_name='gn'),
}
