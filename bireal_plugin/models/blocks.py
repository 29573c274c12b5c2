"""The blocks of Bi-Real Net: Sign -> 1-bit convolution -> BatchNorm -> addition, nothing after the addition.

Two options of ReActNet (ECCV 2020) stand around each of these: ``rsign`` adds a learned shift per channel before the
sign (before the real activation in pre-training), ``rprelu`` an RPReLU after the addition (after the BatchNorm where
the structure adds nothing). Both are off by default and then leave no trace in the state dict.

torch only. A stage is an ``nn.Sequential`` of blocks; what flows between them depends on the structure (Fig. 10):

=========== ================================ ===========================================
structure   basic block (one convolution)    bottleneck (1x1, 3x3, 1x1)
=========== ================================ ===========================================
bireal      own shortcut: Tensor -> Tensor   two streams: (narrow, wide) -> (narrow, wide)
resnet      shortcut around each pair        one shortcut around the block
plain       no shortcut                      no shortcut
=========== ================================ ===========================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bireal_plugin.binary.activation import LeakyClip, RPReLU

Structure = Literal['bireal', 'resnet', 'plain']
Norm = Callable[[int], nn.Module]
Conv = Callable[..., nn.Module]


def average_pool(stride: int) -> nn.Module:
    """Average pool whose output has the size of a padded convolution of that stride: odd sizes round up.

    Windows over the edge average the pixels inside alone.
    """
    return nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()


def downsample(in_channels: int, out_channels: int, stride: int, norm: Norm) -> nn.Sequential:
    """The real stage-transition shortcut: average pool, 1x1 convolution, BatchNorm (state-dict indices 1 and 2)."""
    return nn.Sequential(average_pool(stride), nn.Conv2d(in_channels, out_channels, 1, bias=False), norm(out_channels))


def shift_parameter(channels: int, *, rsign: bool) -> nn.Parameter | None:
    """RSign's shift ``(C,)``, 0 at first; None when the option is off."""
    return nn.Parameter(torch.zeros(channels)) if rsign else None


def shifted(x: Tensor, shift: Tensor | None) -> Tensor:
    """``x + shift`` per channel of ``(N, C, H, W)``."""
    return x if shift is None else x + shift.to(x.dtype).view(-1, 1, 1)


class BasicBlock(nn.Module):
    """One 3x3 1-bit convolution with its shortcut; the unit of the 18- and 34-layer networks.

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        conv: makes the 1-bit convolution, called like ``nn.Conv2d``.
        norm: makes the normalisation of a number of channels.
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
        structure: Structure = 'bireal',
        opens: bool = True,
        rsign: bool = False,
        rprelu: bool = False,
    ) -> None:
        super().__init__()
        self.structure = structure
        self.opens = opens
        self.shift1 = shift_parameter(in_channels, rsign=rsign)
        self.conv1 = conv(in_channels, channels, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = norm(channels)
        self.rprelu1 = RPReLU(channels) if rprelu else nn.Identity()
        self.downsample: nn.Module | None = None
        if structure != 'plain' and (stride != 1 or in_channels != channels):
            self.downsample = downsample(in_channels, channels, stride, norm)

    def forward(self, state: Any) -> Any:
        """Tensor ``(N, C, H, W)`` to Tensor; within a 'resnet' pair ``(x, shortcut)`` travels instead."""
        if self.structure == 'resnet' and not self.opens:
            x, shortcut = state
            return self.rprelu1(self.bn1(self.conv1(shifted(x, self.shift1))) + shortcut)
        y = self.bn1(self.conv1(shifted(state, self.shift1)))
        if self.structure == 'plain':
            return self.rprelu1(y)
        shortcut = state if self.downsample is None else self.downsample(state)
        return self.rprelu1(y + shortcut) if self.structure == 'bireal' else (self.rprelu1(y), shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 1-bit convolutions between a narrow stream n and a wide stream w (four times as many channels).

    ::

        a = BN(conv1x1(sign(w))) + n        reduce
        b = BN(conv3x3(sign(a))) + a        stride here; ``a`` through an average pool then
        c = BN(conv1x1(sign(b))) + w        expand; ``w`` through the real downsample where its shape changes

    returns (b, c) as the next block's (n, w). At the start of a stage n passes a real 1x1 convolution without
    BatchNorm. The very first block has n = w = stem: its conv1 is real behind a leaky clip, and adds no n.

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
        structure: Structure = 'bireal',
        stride_on_reduce: bool = False,
        rsign: bool = False,
        rprelu: bool = False,
    ) -> None:
        super().__init__()
        self.structure = structure
        self.first = first
        stride1, stride2 = (stride, 1) if stride_on_reduce else (1, stride)
        wide = channels * self.expansion

        reduce = nn.Conv2d if first else conv
        self.shift1 = shift_parameter(in_channels, rsign=rsign and not first)
        self.conv1 = reduce(in_channels, channels, 1, stride=stride1, bias=False)
        self.bn1 = norm(channels)
        self.rprelu1 = RPReLU(channels) if rprelu else nn.Identity()
        self.shift2 = shift_parameter(channels, rsign=rsign)
        self.conv2 = conv(channels, channels, 3, stride=stride2, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = norm(channels)
        self.rprelu2 = RPReLU(channels) if rprelu else nn.Identity()
        self.shift3 = shift_parameter(channels, rsign=rsign)
        self.conv3 = conv(channels, wide, 1, bias=False)
        self.bn3 = norm(wide)
        self.rprelu3 = RPReLU(wide) if rprelu else nn.Identity()

        self.clip = LeakyClip() if first else nn.Identity()
        self.downsample: nn.Module | None = None
        if structure != 'plain' and (stride != 1 or in_channels != wide):
            self.downsample = downsample(in_channels, wide, stride, norm)
        self.narrow_pool = average_pool(stride1)
        self.middle_pool = average_pool(stride2)
        self.narrow_shortcut: nn.Module | None = None
        if structure == 'bireal' and not first and (narrow_channels != channels):
            self.narrow_shortcut = nn.Conv2d(narrow_channels, channels, 1, bias=False)

    def forward(self, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(narrow ``(N, C/4, H, W)``, wide ``(N, C, H, W)``) to the same of this block."""
        narrow, wide = state
        a = self.bn1(self.conv1(self.clip(shifted(wide, self.shift1))))
        if self.structure == 'bireal' and not self.first:
            narrow = self.narrow_pool(narrow)
            a = a + (narrow if self.narrow_shortcut is None else self.narrow_shortcut(narrow))
        a = self.rprelu1(a)
        b = self.bn2(self.conv2(shifted(a, self.shift2)))
        if self.structure == 'bireal':
            b = b + self.middle_pool(a)
        b = self.rprelu2(b)
        c = self.bn3(self.conv3(shifted(b, self.shift3)))
        if self.structure != 'plain':
            c = c + (wide if self.downsample is None else self.downsample(wide))
        return b, self.rprelu3(c)
