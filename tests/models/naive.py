"""A second, naive formulation of the published networks, written from their description over a flat dict of weights.

It shares no code with bireal_plugin: signs, scales and wiring are spelled out here once more.
"""

import torch
from torch.nn import functional as F


def binary_conv(x, weight, **geometry):
    signs = torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))
    kernel = torch.where(weight >= 0, torch.ones_like(weight), -torch.ones_like(weight))
    return F.conv2d(signs, kernel * weight.abs().mean(dim=(1, 2, 3), keepdim=True), **geometry)


def batch_norm(x, w, name):
    mean, var = w[f'{name}.running_mean'], w[f'{name}.running_var']
    shape = (1, -1, 1, 1)
    normal = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-5)
    return normal * w[f'{name}.weight'].view(shape) + w[f'{name}.bias'].view(shape)


def halve(x):
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def leaky_clip(x):
    return torch.where(x > 1, 0.1 * x + 0.9, torch.where(x < -1, 0.1 * x - 0.9, x))


def option_a(x, channels):
    added = (channels - x.shape[1]) // 2
    zeros = torch.zeros_like(x[:, :1, ::2, ::2]).repeat(1, added, 1, 1)
    return torch.cat([zeros, x[:, :, ::2, ::2], zeros], 1)


def stem(x, w):
    if w['conv1.weight'].shape[-1] == 3:
        return batch_norm(F.conv2d(x, w['conv1.weight'], padding=1), w, 'bn1')
    x = F.conv2d(x, w['conv1.weight'], stride=2, padding=3)
    return F.max_pool2d(batch_norm(x, w, 'bn1'), 3, 2, 1)


def basic_network(x, w, blocks, structure='bireal'):
    """Feature maps of the stages; a shortcut around one convolution, two, or none."""
    x = stem(x, w)
    outputs = []
    for stage, count in enumerate(blocks, start=1):
        for i in range(count):
            name = f'layer{stage}.{i}'
            stride = 2 if stage > 1 and i == 0 else 1
            y = batch_norm(binary_conv(x, w[f'{name}.conv1.weight'], stride=stride, padding=1), w, f'{name}.bn1')
            if structure == 'bireal' or (structure == 'resnet' and i % 2 == 0):
                shortcut = x
                if stride == 2 and f'{name}.downsample.1.weight' not in w:
                    shortcut = option_a(x, y.shape[1])
                elif stride == 2:
                    shortcut = F.conv2d(halve(x), w[f'{name}.downsample.1.weight'])
                    shortcut = batch_norm(shortcut, w, f'{name}.downsample.2')
            if structure == 'bireal' or (structure == 'resnet' and i % 2 == 1):
                y = y + shortcut
            x = y
        outputs.append(x)
    return outputs


def bottleneck_network(x, w, blocks, structure='bireal'):
    """Feature maps of the four stages: two streams, or one shortcut per block, or none."""
    narrow = wide = stem(x, w)
    outputs = []
    for stage, count in enumerate(blocks, start=1):
        for i in range(count):
            name = f'layer{stage}.{i}'
            stride = 2 if stage > 1 and i == 0 else 1
            if stage == 1 and i == 0:
                a = batch_norm(F.conv2d(leaky_clip(wide), w[f'{name}.conv1.weight']), w, f'{name}.bn1')
            else:
                a = batch_norm(binary_conv(wide, w[f'{name}.conv1.weight']), w, f'{name}.bn1')
                if structure == 'bireal':
                    if i == 0:
                        narrow = F.conv2d(narrow, w[f'{name}.narrow_shortcut.weight'])
                    a = a + narrow
            b = batch_norm(binary_conv(a, w[f'{name}.conv2.weight'], stride=stride, padding=1), w, f'{name}.bn2')
            if structure == 'bireal':
                b = b + (halve(a) if stride == 2 else a)
            c = batch_norm(binary_conv(b, w[f'{name}.conv3.weight']), w, f'{name}.bn3')
            if structure != 'plain':
                shortcut = wide
                if i == 0:
                    shortcut = halve(wide) if stride == 2 else wide
                    shortcut = F.conv2d(shortcut, w[f'{name}.downsample.1.weight'])
                    shortcut = batch_norm(shortcut, w, f'{name}.downsample.2')
                c = c + shortcut
            narrow, wide = b, c
        outputs.append(wide)
    return outputs
