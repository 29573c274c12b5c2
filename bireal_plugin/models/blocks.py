"""The blocks of Bi-Real Net: Sign -> 1-bit convolution -> BatchNorm -> addition, nothing after the addition.

Two options of ReActNet (ECCV 2020) stand around each of these: ``rsign`` adds a learned shift per channel before the
sign (before the real activation in pre-training), ``rprelu`` an RPReLU after the addition (after the BatchNorm where
the structure adds nothing). Both are off by default and then leave no trace in the state dict.

torch only. Blocks and stages take one feature map and return one, whatever the structure (Fig. 10):

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
from typing import Literal

import torch.utils.checkpoint
from torch import Tensor, nn

from bireal_plugin.binary.activation import LeakyClip, RPReLU
from bireal_plugin.errors import InputError

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


def shifted(x: Tensor, shift: Tensor | None) -> Tensor:
    """``x + shift`` per channel of ``(N, C, H, W)``."""
    return x if shift is None else x + shift.to(x.dtype).view(-1, 1, 1)


def carrying(x: Tensor, stream: Tensor | None) -> Tensor:
    """``x`` with a second stream as its attribute; as it is without one."""
    if stream is not None:
        x.second_stream, x.second_stream_in_graph = stream, torch.is_grad_enabled()  # type: ignore[attr-defined]
    return x


def advance(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)`` of a block or stage. Where a host has replaced its ``forward``, both streams pass explicitly."""
    if 'forward' not in vars(module) or not module.two_streams:
        return module(x)
    return carrying(*module(x, getattr(x, 'second_stream', None)))


class Block(nn.Module):
    """Base of all blocks: one feature map ``(N, C, H, W)`` in and one out, so that hosts can call, hook and wrap each.

    A second stream is the attribute ``second_stream`` of the feature map it belongs to. That needs no state in the
    modules, so replicas, copies, several passes before one backward, ``torch.compile``, ``torch.export`` and
    non-reentrant checkpointing work as they are. A wrapper of ``forward`` (mmengine's activation checkpointing, which
    is reentrant) is given both streams and returns both, ``forward(x, stream) -> (x, stream)``, as hooks then see. A
    host that passes another tensor on is refused, in a sentence with the block's ``name``.

    Attributes:
        with_cp: recompute the block in backward.
        takes_stream, two_streams: the block reads a second stream; it reads or gives one.
    """

    name = ''
    with_cp = False
    structure: Structure = 'bireal'
    takes_stream = two_streams = False

    def forward(self, x: Tensor, *stream: Tensor | None) -> Tensor | tuple[Tensor, Tensor | None]:
        """The block's output, which carries the second stream for the next block; (output, stream) if that was given.

        Raises:
            InputError: ``x`` is not the tensor that the block before returned.
        """
        narrow = self._stream_of(x) if self.takes_stream and not stream else next(iter(stream), None)
        if self.with_cp and self.training:
            result = torch.utils.checkpoint.checkpoint(self.run, x, narrow, use_reentrant=False)
        else:
            result = self.run(x, narrow)
        return result if stream else carrying(*result)

    def _stream_of(self, x: Tensor) -> Tensor:
        stream = getattr(x, 'second_stream', None)
        cut_off = torch.is_grad_enabled() and not getattr(x, 'second_stream_in_graph', True) and x.requires_grad
        if stream is None or cut_off:
            raise InputError(
                f'{self.name}: the feature map does not carry its second stream, so it is not the tensor that the '
                'block before returned; run the blocks in a row, without reentrant checkpointing, and let no hook '
                'replace their outputs'
            )
        return stream

    def run(self, x: Tensor, stream: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Feature map and second stream (None without one) to the same of this block."""
        raise NotImplementedError


class Stage(nn.Sequential):
    """Blocks in a row, called as a block is."""

    @property
    def two_streams(self) -> bool:
        """Some block reads or gives a second stream."""
        return any(getattr(block, 'two_streams', False) for block in self)

    def forward(self, x: Tensor, *stream: Tensor | None) -> Tensor | tuple[Tensor, Tensor | None]:
        """The last block's output; (output, stream) if a stream was given, as in ``Block``."""
        x = carrying(x, *stream) if stream else x
        for block in self:
            x = advance(block, x)
        return (x, getattr(x, 'second_stream', None)) if stream else x


class BasicBlock(Block):
    """One 3x3 1-bit convolution with its shortcut; the unit of the 18- and 34-layer networks.

    Args:
        in_channels, channels: of the input and the output.
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
        self.structure, self.two_streams = structure, structure == 'resnet'
        self.takes_stream = self.two_streams and not opens
        self.shift1 = nn.Parameter(torch.zeros(in_channels)) if rsign else None
        self.conv1 = conv(in_channels, channels, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = norm(channels)
        self.rprelu1 = RPReLU(channels) if rprelu else nn.Identity()
        self.downsample: nn.Module | None = None
        if structure != 'plain' and (stride != 1 or in_channels != channels):
            self.downsample = downsample(in_channels, channels, stride, norm)

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
            self.downsample = downsample(in_channels, wide, stride, norm)
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
