"""The blocks of Bi-Real Net: Sign -> 1-bit convolution -> BatchNorm -> addition, nothing after the addition.

Two options of ReActNet (ECCV 2020) stand around each of these: ``rsign`` adds a learned shift per channel before the
sign (before the real activation in pre-training), ``rprelu`` an RPReLU after the addition (after the BatchNorm where
the structure adds nothing). Both are off by default and then leave no trace in the state dict.

torch only. Every block takes one feature map and returns one, whatever the structure (Fig. 10), see ``stages.py``:

=========== ===================================== ====================================
structure   basic block (one convolution)         bottleneck (1x1, 3x3, 1x1)
=========== ===================================== ====================================
bireal      own shortcut                          two streams, the second one narrow
resnet      shortcut around a pair, between whose one shortcut around the block
            blocks it is the second stream
plain       no shortcut                           no shortcut
=========== ===================================== ====================================
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.binary.activation import LeakyClip, RPReLU
from bireal_plugin.errors import InputError
from bireal_plugin.models.stages import Block, Structure

Norm = Callable[[int], nn.Module]
Transition = Callable[[int, int, int, Norm], nn.Module]  # of in_channels, out_channels, stride and norm
Conv = Callable[..., nn.Module]


def average_pool(stride: int) -> nn.Module:
    """Average pool whose output has the size of a padded convolution of that stride: odd sizes round up.

    Windows over the edge average the pixels inside alone.
    """
    return nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()


def downsample(in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Sequential:
    """The real stage-transition shortcut: average pool, 1x1 convolution, BatchNorm (state-dict indices 1 and 2)."""
    return nn.Sequential(average_pool(stride), nn.Conv2d(in_channels, out_channels, 1, bias=False), norm(out_channels))


class PaddedShortcut(nn.Module):
    """The shortcut without parameters, ResNet's option A: every ``stride``-th pixel, and zero channels on both sides.

    Raises:
        InputError: there are fewer channels behind it than before.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: Norm | None = None) -> None:
        super().__init__()
        added = out_channels - in_channels
        if added < 0:
            raise InputError(
                f"transition='pad' adds channels, and here {in_channels} become {out_channels}; give transition='conv'"
            )
        self.stride, self.channels = stride, (added // 2, added - added // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.channels))

    def extra_repr(self) -> str:
        return f'stride={self.stride}, zero channels {self.channels[0]} before and {self.channels[1]} behind'


def shifted(x: Tensor, shift: Tensor | None) -> Tensor:
    """``x + shift`` per channel of ``(N, C, H, W)``."""
    return x if shift is None else x + shift.to(x.dtype).view(-1, 1, 1)


class BasicBlock(Block):
    """One 3x3 1-bit convolution with its shortcut; the unit of the 18- and 34-layer networks.

    Args:
        in_channels, channels: of the input and the output.
        conv: makes the 1-bit convolution, called like ``nn.Conv2d``.
        norm: makes the normalisation of a number of channels.
        transition: makes the shortcut where the shape changes, called like ``downsample``.
        structure: the wiring of Fig. 10.
        opens: in the 'resnet' structure, True for the first of the two blocks a shortcut spans.
        rsign, rprelu: ReActNet's options, parameters ``shift1`` and ``rprelu1.{gamma, slope, zeta}``.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        conv: Conv,
        norm: Norm,
        transition: Transition = downsample,
        structure: Structure = 'bireal',
        opens: bool = True,
        rsign: bool = False,
        rprelu: bool = False,
    ) -> None:
        super().__init__()
        self.structure, self.two_streams = structure, structure == 'resnet'
        self.takes_stream = self.two_streams and not opens
        self.shift1 = nn.Parameter(torch.zeros(in_channels)) if rsign else None
        self.conv1 = conv(in_channels, channels, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = norm(channels)
        self.rprelu1 = RPReLU(channels) if rprelu else nn.Identity()
        self.downsample: nn.Module | None = None
        if structure != 'plain' and (stride != 1 or in_channels != channels):
            self.downsample = transition(in_channels, channels, stride, norm)

    def run(self, x: Tensor, stream: Tensor | None) -> tuple[Tensor, Tensor | None]:
        y = self.bn1(self.conv1(shifted(x, self.shift1)))
        if stream is not None:
            return self.rprelu1(y + stream), None
        if self.structure == 'plain':
            return self.rprelu1(y), None
        shortcut = x if self.downsample is None else self.downsample(x)
        return (self.rprelu1(y + shortcut), None) if self.structure == 'bireal' else (self.rprelu1(y), shortcut)


class TwoStreams(Block):
    """1x1, 3x3 and 1x1 1-bit convolutions between a narrow stream n and a wide stream w (four times as many channels).

    ::

        a = BN(conv1x1(sign(w))) + n        reduce
        b = BN(conv3x3(sign(a))) + a        stride here; ``a`` through an average pool then
        c = BN(conv1x1(sign(b))) + w        expand; ``w`` through the real downsample where its shape changes

    c is the next block's w, and b, its second stream, the next block's n. At the start of a stage n passes a real 1x1
    convolution without BatchNorm. The very first block adds no n. 'resnet' adds w alone, 'plain' nothing.
    """

    narrow_pool: nn.Module
    middle_pool: nn.Module
    narrow_shortcut: nn.Module | None

    def run(self, x: Tensor, stream: Tensor | None) -> tuple[Tensor, Tensor | None]:
        a = self.branch(0, x)
        if stream is not None:
            narrow = self.narrow_pool(stream)
            a = a + (narrow if self.narrow_shortcut is None else self.narrow_shortcut(narrow))
        a = self.after(0, a)
        b = self.branch(1, a)
        if self.structure == 'bireal':
            b = b + self.middle_pool(a)
        b = self.after(1, b)
        c = self.branch(2, b)
        if self.structure != 'plain':
            c = c + self.around(x)
        return self.after(2, c), b if self.structure == 'bireal' else None

    def branch(self, k: int, x: Tensor) -> Tensor:
        """Convolution ``k`` (from 0) and its normalisation, with what stands around them."""
        raise NotImplementedError

    def after(self, k: int, x: Tensor) -> Tensor:
        """``x`` behind the addition to branch ``k``."""
        return x

    def around(self, x: Tensor) -> Tensor:
        """The shortcut over the whole block."""
        raise NotImplementedError


class Bottleneck(TwoStreams):
    """``TwoStreams`` of our own; the very first block of a network has a real conv1 behind a leaky clip.

    Args:
        in_channels: channels of the wide stream coming in.
        channels: width of the narrow stream; the wide one leaves with ``4 * channels``.
        narrow_channels: channels of the narrow stream coming in.
        first: the very first block of the network.
        stride_on_reduce: put the stride on the first 1x1 convolution (``style='caffe'``) instead of the 3x3.
        rsign, rprelu: ReActNet's options, parameters ``shift{k}`` (none where conv1 is real) and ``rprelu{k}.*``.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        narrow_channels: int,
        first: bool = False,
        stride: int = 1,
        dilation: int = 1,
        conv: Conv,
        norm: Norm,
        transition: Transition = downsample,
        structure: Structure = 'bireal',
        stride_on_reduce: bool = False,
        rsign: bool = False,
        rprelu: bool = False,
    ) -> None:
        super().__init__()
        self.structure, self.two_streams = structure, structure == 'bireal'
        self.takes_stream = self.two_streams and not first
        stride1, stride2 = (stride, 1) if stride_on_reduce else (1, stride)
        wide = channels * self.expansion
        reduce = nn.Conv2d if first else conv
        self.clip = LeakyClip() if first else nn.Identity()
        self.shift1 = nn.Parameter(torch.zeros(in_channels)) if rsign and not first else None
        self.conv1 = reduce(in_channels, channels, 1, stride=stride1, bias=False)
        self.bn1 = norm(channels)
        self.rprelu1 = RPReLU(channels) if rprelu else nn.Identity()
        self.shift2 = nn.Parameter(torch.zeros(channels)) if rsign else None
        self.conv2 = conv(channels, channels, 3, stride=stride2, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = norm(channels)
        self.rprelu2 = RPReLU(channels) if rprelu else nn.Identity()
        self.shift3 = nn.Parameter(torch.zeros(channels)) if rsign else None
        self.conv3 = conv(channels, wide, 1, bias=False)
        self.bn3 = norm(wide)
        self.rprelu3 = RPReLU(wide) if rprelu else nn.Identity()
        self.downsample: nn.Module | None = None
        if structure != 'plain' and (stride != 1 or in_channels != wide):
            self.downsample = transition(in_channels, wide, stride, norm)
        self.narrow_pool, self.middle_pool = average_pool(stride1), average_pool(stride2)
        self.narrow_shortcut = None
        if self.takes_stream and narrow_channels != channels:
            self.narrow_shortcut = nn.Conv2d(narrow_channels, channels, 1, bias=False)

    def branch(self, k: int, x: Tensor) -> Tensor:
        shift, conv, norm = (getattr(self, f'{part}{k + 1}') for part in ('shift', 'conv', 'bn'))
        x = shifted(x, shift)
        return norm(conv(self.clip(x) if k == 0 else x))

    def after(self, k: int, x: Tensor) -> Tensor:
        return getattr(self, f'rprelu{k + 1}')(x)

    def around(self, x: Tensor) -> Tensor:
        return x if self.downsample is None else self.downsample(x)
