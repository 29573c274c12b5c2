"""Grids of 1-bit layers for the engines: what to export, what to feed it, and what has to come out, by numpy."""

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.folding.fold import fold
from bireal_plugin.folding.operator import unpack_signs
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.folding.test_fold import trained

TINY = float(np.finfo(np.float32).tiny)
# Both zeros, and the numbers next to them: the smallest normal and the smallest denormal ones.
EDGES = (0.0, -0.0, TINY, -TINY, 1e-45, -1e-45)


class SideBySide(nn.Module):
    """Layers that each see the first channels of one input, so that one file serves a grid of them."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return [layer(x[:, : layer[0].in_channels]) for layer in self.layers]


@st.composite
def geometries(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    return dict(
        in_channels=groups * draw(st.sampled_from([1, 3, 8, 11, 20])),
        out_channels=groups * draw(st.integers(1, 9)),
        kernel_size=draw(st.sampled_from([1, 3, 5, (3, 1)])),
        stride=draw(st.sampled_from([1, 2, (2, 1), 3])),
        padding=draw(st.sampled_from([0, 1, (2, 1)])),
        dilation=draw(st.sampled_from([1, 2, (1, 2)])),
        groups=groups,
    )


def with_edges(*shape):
    """Normal numbers, a third of them replaced by zeros and what is next to them."""
    x = torch.randn(shape)
    for i, value in enumerate(EDGES):
        x.view(-1)[i :: 3 * len(EDGES)] = value
    return x


def folded_layers(layers):
    """Folded layers with an affine map of their own each, negative and zero scales among them."""
    pairs = (nn.Sequential(BinaryConv2d(**layer), nn.BatchNorm2d(layer['out_channels'])) for layer in layers)
    return SideBySide(fold(trained(pair, seed)) for seed, pair in enumerate(pairs)).eval()


def expected(layer, x):
    """An integer convolution in float64, then the affine map in two roundings, in numpy."""
    signs = np.where(x.numpy() >= 0, 1.0, -1.0)
    weight = unpack_signs(layer.packed_weight, layer.in_channels // layer.groups).double()
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    sums = F.conv2d(torch.from_numpy(signs), weight, None, *geometry).numpy().astype(np.float32)
    scale, bias = (value.numpy().reshape(-1, 1, 1) for value in (layer.scale, layer.bias))
    return sums * scale + bias


def classifier(depth=18, base_channels=8, classes=10, num_stages=4, **options):
    torch.manual_seed(0)
    options |= dict(num_stages=num_stages, out_indices=(num_stages - 1,))
    backbone = BiRealResNet(depth, base_channels=base_channels, **options)
    return trained(BiRealClassifier(backbone, classes))


def images(*shape):
    torch.manual_seed(1)
    return torch.randn(shape)


def agreement(outputs, expectations):
    """The share of images whose outputs are those of torch; where rounding flips one sign, a whole image differs."""
    pairs = zip(outputs, expectations, strict=True)
    close = [
        np.isclose(got, want.detach().numpy(), rtol=1e-3, atol=1e-3).reshape(len(got), -1).all(1) for got, want in pairs
    ]
    return np.logical_and.reduce(close).mean()
