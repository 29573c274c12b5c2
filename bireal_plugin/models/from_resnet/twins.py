"""Residual blocks of another library with Bi-Real wiring: same children, same names, same Parameters.

The wiring is that of ``bireal_plugin.models.blocks``, with two 3x3 convolutions and two shortcuts in a basic block.
What stays real in a row of 1-bit convolutions (the network's first 1x1, and what the user keeps) stands behind a
leaky clip. No block keeps anything between calls.

The narrow stream of a bottleneck is an attribute of the wide feature map it belongs to, since the host passes one
tensor from stage to stage, in its own code. An attribute needs no state in the modules, so replicas, copies, several
passes before one backward, ``torch.compile``, ``torch.export`` and non-reentrant checkpointing work as they are. A host
that passes another tensor on (reentrant checkpointing, a hook that returns a new tensor) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

import torch.utils.checkpoint
from torch import Tensor, nn

from bireal_plugin.binary.activation import LeakyClip
from bireal_plugin.errors import InputError
from bireal_plugin.hosts.torch_private import move_hooks
from bireal_plugin.models.blocks import Structure, average_pool
from bireal_plugin.models.from_resnet.anatomy import BlockPlan

T = TypeVar('T')
MakeConv = Callable[[nn.Conv2d], nn.Conv2d]


class TwinBlock(nn.Module):
    """Bi-Real block with the children of ``block``; activations, which have no place in it, are dropped.

    Args:
        block: the host's block, which is not changed.
        plan: see ``BlockPlan``.
        structure: the wiring of Fig. 10.
        make_conv: the 1-bit twin of a convolution.
        real: names of the convolutions that stay real.
    """

    def __init__(
        self,
        block: nn.Module,
        plan: BlockPlan,
        *,
        structure: Structure,
        make_conv: MakeConv,
        real: Collection[str],
    ) -> None:
        super().__init__()
        self.name, self.structure = plan.name, structure
        self.with_cp = bool(getattr(block, 'with_cp', False))
        shortcut = plan.shortcut if structure != 'plain' else None
        kept = {child for branch in plan.branches for child in branch} | {shortcut}
        for name, child in block.named_children():
            if name not in kept:
                continue
            if name in plan.convs and name not in real:
                twin = make_conv(child)  # type: ignore[arg-type]
                move_hooks(child, twin)
                child = twin
            self.add_module(name, child)
        branches = []
        for branch in plan.branches:
            if branch[0] in real:
                clip = branch[0].replace('conv', 'clip')
                self.add_module(clip, LeakyClip())
                branch = (clip, *branch)
            branches.append(branch)
        self.branches = tuple(branches)
        self.shortcut = shortcut
        self.shortcut_pool = average_pool(plan.pool)
        move_hooks(block, self)
        for module in self.modules():
            if not [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
                module.training = block.training

    def branch(self, k: int, x: Tensor) -> Tensor:
        """Convolution ``k`` (from 0) and its normalisation, with what stands around them."""
        for name in self.branches[k]:
            x = getattr(self, name)(x)
        return x

    def around(self, x: Tensor) -> Tensor:
        """The shortcut over the whole block: identity, or average pool and the host's real 1x1 convolution."""
        return x if self.shortcut is None else getattr(self, self.shortcut)(self.shortcut_pool(x))

    def checkpointed(self, run: Callable[..., T], *inputs: Tensor | None) -> T:
        """``run(*inputs)``, recomputed in backward where the host asked for it (``with_cp``)."""
        if self.with_cp and self.training:
            return torch.utils.checkpoint.checkpoint(run, *inputs, use_reentrant=False)
        return run(*inputs)


class TwinBasicBlock(TwinBlock):
    """Two 3x3 convolutions: ``y = bn1(conv1(x)) + around(x)``, ``bn2(conv2(y)) + y`` in the 'bireal' structure."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the block's output."""
        return self.checkpointed(self.run, x)

    def run(self, x: Tensor) -> Tensor:
        """``forward`` without checkpointing."""
        y = self.branch(0, x)
        if self.structure == 'plain':
            return self.branch(1, y)
        if self.structure == 'resnet':
            return self.branch(1, y) + self.around(x)
        y = y + self.around(x)
        return self.branch(1, y) + y


class TwinBottleneck(TwinBlock):
    """Reduce, 3x3, expand between a narrow and a wide stream; see ``bireal_plugin.models.blocks.Bottleneck``.

    Args:
        narrow_channels: of the narrow stream coming in, or None for the network's first block, which has none.
    """

    def __init__(self, block: nn.Module, plan: BlockPlan, *, narrow_channels: int | None, **options: object) -> None:
        super().__init__(block, plan, **options)  # type: ignore[arg-type]
        conv: nn.Conv2d = block.conv1  # type: ignore[assignment]
        self.takes_narrow = self.structure == 'bireal' and narrow_channels is not None
        self.narrow_pool = average_pool(plan.strides[0])
        self.middle_pool = average_pool(plan.strides[1])
        self.narrow_shortcut: nn.Conv2d | None = None
        if self.takes_narrow and narrow_channels != conv.out_channels:
            self.narrow_shortcut = _narrow_shortcut(narrow_channels, conv)  # type: ignore[arg-type]
        for module in (self.narrow_pool, self.middle_pool, self.narrow_shortcut):
            if module is not None:
                module.training = block.training

    def forward(self, x: Tensor) -> Tensor:
        """The wide stream ``(N, C, H, W)``, carrying the narrow one, to that of this block."""
        narrow = None
        if self.takes_narrow:
            narrow = getattr(x, 'narrow_stream', None)
            if narrow is None:
                raise InputError(
                    f'{self.name}: the feature map does not carry its narrow stream, so it is not the tensor that the '
                    'block before returned; run the blocks in a row, without reentrant checkpointing, and let no hook '
                    'replace their outputs'
                )
        if self.structure != 'bireal':
            return self.checkpointed(self.run_one_stream, x)
        narrow, wide = self.checkpointed(self.run, x, narrow)
        wide.narrow_stream = narrow  # type: ignore[attr-defined]
        return wide

    def run(self, wide: Tensor, narrow: Tensor | None) -> tuple[Tensor, Tensor]:
        """(wide, narrow or None) to this block's (narrow, wide)."""
        a = self.branch(0, wide)
        if narrow is not None:
            narrow = self.narrow_pool(narrow)
            a = a + (narrow if self.narrow_shortcut is None else self.narrow_shortcut(narrow))
        b = self.branch(1, a) + self.middle_pool(a)
        return b, self.branch(2, b) + self.around(wide)

    def run_one_stream(self, x: Tensor) -> Tensor:
        """'resnet': one shortcut over the block; 'plain': none."""
        y = self.branch(2, self.branch(1, self.branch(0, x)))
        return y if self.structure == 'plain' else y + self.around(x)


def _narrow_shortcut(channels: int, conv: nn.Conv2d) -> nn.Conv2d:
    """A new real 1x1 convolution from ``channels`` to those of ``conv``, of its device and type."""
    shortcut = nn.Conv2d(channels, conv.out_channels, 1, bias=False, device='meta')
    shortcut.weight = nn.Parameter(conv.weight.new_empty(conv.out_channels, channels, 1, 1))
    nn.init.kaiming_normal_(shortcut.weight, mode='fan_out', nonlinearity='relu')
    return shortcut
