"""Real layers of many kinds, and modules around functions, for engines that are written operator by operator."""

import torch
from torch import nn
from torch.nn import functional as F

from bireal_plugin.binary import LeakyClip


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class AllOfOneInput(nn.Module):
    """Layers that all see the same input, so that one file serves a grid of them."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return [layer(x) for layer in self.layers]


COLOURS = torch.linspace(-1, 1, 6)
REAL_LAYERS = {
    'stem': nn.Conv2d(6, 5, 7, stride=2, padding=3),
    'conv': nn.Conv2d(6, 5, 3, padding=1, bias=False),
    'conv, uneven padding': nn.Conv2d(6, 5, (2, 3), stride=(1, 2), padding=(1, 2)),
    'conv, dilation': nn.Conv2d(6, 5, 3, padding=2, dilation=2),
    'conv, dilation and stride': nn.Conv2d(6, 5, 3, stride=2, padding=3, dilation=3),
    'conv, groups': nn.Conv2d(6, 9, 3, padding=1, groups=3),
    'conv, depthwise': nn.Conv2d(6, 6, 3, padding=1, groups=6),
    'conv, same': nn.Conv2d(6, 4, 3, padding='same', dilation=2),
    'conv, valid': nn.Conv2d(6, 4, 3, padding='valid'),
    'max pool of the stem': nn.MaxPool2d(3, 2, 1),
    'max pool': nn.MaxPool2d(2),
    'max pool, ceil': nn.MaxPool2d(3, 2, ceil_mode=True),
    'max pool, same': nn.MaxPool2d(3, 1, 1),
    'average pool of a shortcut': nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
    'average pool': nn.AvgPool2d(2),
    'average pool, padding in the count': nn.AvgPool2d(3, 2, 1),
    'average pool, padding left out': nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    'global average': nn.AdaptiveAvgPool2d(1),
    'mean': Function(lambda x: x.mean((2, 3))),
    'mean, kept': Function(lambda x: x.mean((2, 3), keepdim=True)),
    'mean of channels': Function(lambda x: x.mean(1)),
    'linear': nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(6, 4)),
    'relu': nn.ReLU(),
    'relu6': nn.ReLU6(),
    'hardtanh': nn.Hardtanh(-0.5, 1.5),
    'clamp': Function(lambda x: x.clamp(min=-0.25)),
    'leaky clip': LeakyClip(),
    'leaky relu': nn.LeakyReLU(0.2),
    'elu': nn.ELU(),
    'sigmoid': nn.Sigmoid(),
    'tanh': nn.Tanh(),
    'softmax': nn.Softmax(1),
    'prelu': nn.PReLU(6),
    'prelu, one slope': nn.PReLU(),
    'identity': nn.Identity(),
    'abs, neg': Function(lambda x: x.abs() - (-x)),
    'shift per channel': Function(lambda x: x + COLOURS.view(-1, 1, 1)),
    'product and quotient': Function(lambda x: x * COLOURS.view(1, 6, 1, 1) / 3 + x * x),
    'number minus tensor': Function(lambda x: 1 - x),
    'nearest': nn.Upsample(scale_factor=2),
    'bilinear': nn.Upsample(scale_factor=2, mode='bilinear'),
    'bilinear, corners': nn.Upsample((19, 17), mode='bilinear', align_corners=True),
    'cat of channels': Function(lambda x: torch.cat([x, x.relu()], 1)),
    'cat of rows': Function(lambda x: torch.cat([x, x.relu()], 2)),
    'pad': Function(lambda x: F.pad(x, (1, 2, 3, 0))),
    'pad with a number': Function(lambda x: F.pad(x, (1, 2), value=0.5)),
    'pad, reflected': nn.ReflectionPad2d(1),
    'every second pixel': Function(lambda x: x[:, :, ::2, ::2]),
    'every third, from one on': Function(lambda x: x[..., 1::3]),
    'rows in the middle': Function(lambda x: x[:, :, 2:-1]),
    'the last channels': Function(lambda x: x[:, -2:]),
    'a shortcut of option A': Function(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3))),
    'with zero channels behind': Function(
        lambda x: torch.cat([x[:, :, ::2, 1::2], torch.zeros_like(x[:, :, ::2, 1::2])], 1)
    ),
    'with new zero channels': Function(lambda x: torch.cat([x, x.new_zeros(x.shape[0], 2, *x.shape[2:])], 1)),
    'flatten': nn.Flatten(),
    'flatten pixels': nn.Flatten(2),
    'view': Function(lambda x: x.view(-1, 2, 3, *x.shape[2:])),
    'permute': Function(lambda x: x.permute(0, 3, 1, 2)),
    'permute to three': Function(lambda x: x.flatten(2).permute(0, 2, 1)),
    'transpose': Function(lambda x: x.transpose(2, 3)),
    'squeeze': Function(lambda x: x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1).unsqueeze(1)),
}


class Named(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.head = layer

    def forward(self, x):
        return self.head(x)


def results(run, folder, batch, *size):
    """What all of the layers give on an input in torch, and in an engine by ``run(net, x, folder)``."""
    torch.manual_seed(0)
    net = AllOfOneInput(list(REAL_LAYERS.values())).eval()
    x = torch.randn(batch, 6, *size)
    with torch.no_grad():
        wanted = dict(zip(REAL_LAYERS, net(x), strict=True))
    return wanted, dict(zip(REAL_LAYERS, run(net, x, folder), strict=True))
