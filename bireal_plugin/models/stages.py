"""Blocks and stages as modules of one feature map, which hosts call, hook, slice and wrap; torch only."""

from __future__ import annotations

from typing import Any, Literal

import torch.utils.checkpoint
from torch import Tensor, nn

from bireal_plugin.binary.conv import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.folding.layers import FoldedLayer

Structure = Literal['bireal', 'resnet', 'plain']


def carrying(x: Tensor, stream: Tensor | None) -> Tensor:
    """``x`` with a second stream as its attribute; as it is without one."""
    if stream is not None:
        x.second_stream, x.second_stream_in_graph = stream, torch.is_grad_enabled()  # type: ignore[attr-defined]
    return x


def advance(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)`` of a block or stage; both streams pass explicitly where a host wrapped it or its ``forward``.

    So does FSDP's ``fully_shard``, whose modules have ``unshard``: it replaces the tensors that go in.
    """
    wrapped = 'forward' in module.__dict__ or hasattr(module, 'unshard') or not isinstance(module, (Block, Stage))
    if not (wrapped and getattr(module, 'two_streams', False)):
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

    def __setattr__(self, name: str, value: Any) -> None:
        """As of any module, but toolkits that quantize real convolutions do not put one in the place of a 1-bit one.

        A plain ``nn.Conv2d`` is a caller's own will, and a wrapper holds the convolution that it stands for.

        Raises:
            InputError: ``value`` would compute with the latent weight instead of its signs.
        """
        old = self.__dict__.get('_modules', {}).get(name)
        if isinstance(old, BinaryConv2d) and isinstance(value, nn.Module):
            known = isinstance(value, (BinaryConv2d, FoldedLayer)) or type(value) is nn.Conv2d
            if not known and not any(module is old for module in value.modules()):
                raise InputError(
                    f'{self.name}.{name} is a 1-bit convolution, and {type(value).__name__} would compute with its '
                    'latent weight, as no 1-bit network does; leave out the layers that '
                    'bireal_plugin.binary.binary_convolutions(model) names'
                )
        super().__setattr__(name, value)

    def forward(self, x: Tensor, *stream: Tensor | None) -> Tensor | tuple[Tensor, Tensor | None]:
        """The block's output, which carries the second stream for the next block; (output, stream) if that was given.

        Raises:
            InputError: ``x`` is not the tensor that the block before returned.
        """
        if stream:
            (narrow,) = stream
        else:
            narrow = self._stream_of(x) if self.takes_stream else None
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
