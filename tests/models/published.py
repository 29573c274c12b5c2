"""The published checkpoints, synthetic, with exactly their names and shapes, and what the published networks compute.

Written from their description over the published names; nothing of bireal_plugin is used.
"""

import torch
from torch.nn import functional as F

from tests.models import naive

BASIC = {18: (4, 4, 4, 4), 34: (6, 8, 12, 6)}
BOTTLENECK = (3, 4, 6, 3)
BLOCKS = {**BASIC, 50: BOTTLENECK}
ENTRIES = {18: 122, 34: 218, 50: 324}


def norm(channels):
    return dict(
        weight=torch.empty(channels).uniform_(0.5, 1.5),
        bias=torch.randn(channels) * 0.3,
        running_mean=torch.randn(channels) * 0.1,
        running_var=torch.empty(channels).uniform_(0.5, 1.5),
        num_batches_tracked=torch.tensor(7),
    )


def add(state, name, entries):
    state.update({f'{name}.{key}': value for key, value in entries.items()})


def real(*shape):
    return torch.randn(shape) * 0.1


def binary(shape, kind):
    """Latent weights as the published code draws them but of both signs, or +-1."""
    latent = torch.randn(shape) * 0.001
    return latent if kind == 'latent' else torch.where(latent >= 0, 1.0, -1.0)


def stem_and_head(features):
    state = {'conv1.weight': real(64, 3, 7, 7)}
    add(state, 'bn1', norm(64))
    return state, {'fc.weight': real(1000, features), 'fc.bias': real(1000)}


def state_of(depth, kind='latent', seed=0):
    """The published state dict of depth 18, 34 or 50, without ``module.``."""
    torch.manual_seed(seed)
    return basic_state(BASIC[depth], kind) if depth in BASIC else bottleneck_state(kind)


def basic_state(blocks, kind):
    state, head = stem_and_head(512)
    width = 64
    for stage, count in enumerate(blocks, start=1):
        channels = 64 * 2 ** (stage - 1)
        for i in range(count):
            name = f'layer{stage}.{i}'
            state[f'{name}.binary_conv.weights'] = binary((channels * width * 9, 1), kind)
            add(state, f'{name}.bn1', norm(channels))
            if width != channels:
                state[f'{name}.downsample.1.weight'] = real(channels, width, 1, 1)
                add(state, f'{name}.downsample.2', norm(channels))
            width = channels
    return {**state, **head}


def bottleneck_state(kind):
    state, head = stem_and_head(2048)
    width, index = 64, 0
    for stage, count in enumerate(BOTTLENECK):
        narrow, wide = 64 * 2**stage, 256 * 2**stage
        for i in range(count):
            name = f'layers.{index}'
            first = (narrow, width, 1, 1)
            state[f'{name}.conv1.weight'] = real(*first) if index == 0 else binary(first, kind)
            add(state, f'{name}.bn1', norm(narrow))
            state[f'{name}.conv2.weight'] = binary((narrow, narrow, 3, 3), kind)
            add(state, f'{name}.bn2', norm(narrow))
            state[f'{name}.conv3.weight'] = binary((wide, narrow, 1, 1), kind)
            add(state, f'{name}.bn3', norm(wide))
            if i == 0:
                state[f'{name}.down_conv1x1.weight'] = real(narrow, width // 4, 1, 1)
                state[f'{name}.downsample.1.weight'] = real(wide, width, 1, 1)
                add(state, f'{name}.downsample.2', norm(wide))
            width, index = wide, index + 1
    return {**state, **head}


def checkpoint(state):
    """What the published training code saves."""
    prefixed = {f'module.{name}': value for name, value in state.items()}
    return dict(epoch=255, state_dict=prefixed, best_top1_acc=torch.tensor(56.4), optimizer=dict(state={}))


def logits(depth, x, w):
    """The published network of this depth, in evaluation, on images ``(N, 3, H, W)``."""
    features = basic_network(x, w, BASIC[depth]) if depth in BASIC else bottleneck_network(x, w)
    return F.linear(features.mean((2, 3)), w['fc.weight'], w['fc.bias'])


def basic_network(x, w, blocks):
    x = naive.stem(x, w)
    for stage, count in enumerate(blocks, start=1):
        for i in range(count):
            name = f'layer{stage}.{i}'
            halved = stage > 1 and i == 0
            weight = w[f'{name}.binary_conv.weights'].view(-1, x.shape[1], 3, 3)
            y = naive.batch_norm(naive.binary_conv(x, weight, stride=2 if halved else 1, padding=1), w, f'{name}.bn1')
            if halved:
                x = F.conv2d(naive.halve(x), w[f'{name}.downsample.1.weight'])
                x = naive.batch_norm(x, w, f'{name}.downsample.2')
            x = y + x
    return x


def bottleneck_network(x, w):
    narrow = wide = naive.stem(x, w)
    starts = {0, 3, 7, 13}
    for i in range(16):
        name = f'layers.{i}'
        halved = i in starts - {0}
        if i == 0:
            a = naive.batch_norm(F.conv2d(naive.leaky_clip(wide), w[f'{name}.conv1.weight']), w, f'{name}.bn1')
        else:
            a = naive.batch_norm(naive.binary_conv(wide, w[f'{name}.conv1.weight']), w, f'{name}.bn1')
            a = a + (F.conv2d(narrow, w[f'{name}.down_conv1x1.weight']) if halved else narrow)
        b = naive.binary_conv(a, w[f'{name}.conv2.weight'], stride=2 if halved else 1, padding=1)
        b = naive.batch_norm(b, w, f'{name}.bn2') + (naive.halve(a) if halved else a)
        c = naive.batch_norm(naive.binary_conv(b, w[f'{name}.conv3.weight']), w, f'{name}.bn3')
        if i in starts:
            wide = F.conv2d(naive.halve(wide) if halved else wide, w[f'{name}.downsample.1.weight'])
            wide = naive.batch_norm(wide, w, f'{name}.downsample.2')
        narrow, wide = b, c + wide
    return wide
