"""Residual blocks of another library with Bi-Real wiring: same children, same names, same Parameters.

The wiring is that of ``bireal_plugin.models.blocks``, with two 3x3 convolutions and two shortcuts in a basic block.
What stays real in a row of 1-bit convolutions (the network's first 1x1, and what the user keeps) stands behind a
leaky clip.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import Tensor, nn

from bireal_plugin.binary.activation import LeakyClip
from bireal_plugin.errors import InputError
from bireal_plugin.hosts.torch_private import move_hooks
from bireal_plugin.models.blocks import TwoStreams, average_pool
from bireal_plugin.models.from_resnet.anatomy import BlockPlan
from bireal_plugin.models.stages import Block, Structure

MakeConv = Callable[[nn.Conv2d], nn.Conv2d]


class TwinBlock(Block):
    """Bi-Real block with the children of ``block``; activations, which have no place in it, are dropped.

    Args:
        block: the host's block, which is not changed.
        plan: see ``BlockPlan``.
        structure: the wiring of Fig. 10.
        make_conv: the 1-bit twin of a convolution.
        real: names of the convolutions that stay real.
    """

    def __init__(
        self, block: nn.Module, plan: BlockPlan, *, structure: Structure, make_conv: MakeConv, real: Collection[str]
    ) -> None:
        super().__init__()
        self.name, self.structure = plan.name, structure
        self.with_cp = bool(getattr(block, 'with_cp', False))
        self.shortcut_name = plan.shortcut if structure != 'plain' else None
        self.branches: list[tuple[str, ...]] = []
        kept = {child for branch in plan.branches for child in branch} | {self.shortcut_name}
        for name, child in block.named_children():
            if name in plan.convs and name not in real:
                twin = make_conv(child)  # type: ignore[arg-type]
                move_hooks(child, twin)
                child = twin
            if name in kept and hasattr(self, name):
                raise InputError(f'{plan.name}.{name}: a Bi-Real block has something else of that name; rename it')
            if name in kept:
                self.add_module(name, child)
        for branch in plan.branches:
            if branch[0] in real:
                clip = branch[0].replace('conv', 'clip')
                self.add_module(clip, LeakyClip())
                branch = (clip, *branch)
            self.branches.append(branch)
        self.shortcut_pool = average_pool(plan.pool)
        move_hooks(block, self)
        self._train_as(block)

    def _train_as(self, block: nn.Module) -> None:
        """Give what has neither parameters nor buffers the mode of the host's block."""
        for module in self.modules():
            if not [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
                module.training = block.training

    def branch(self, k: int, x: Tensor) -> Tensor:
        for name in self.branches[k]:
            x = getattr(self, name)(x)
        return x

    def around(self, x: Tensor) -> Tensor:
        return x if self.shortcut_name is None else getattr(self, self.shortcut_name)(self.shortcut_pool(x))


class TwinBasicBlock(TwinBlock):
    """Two 3x3 convolutions: ``y = bn1(conv1(x)) + around(x)``, ``bn2(conv2(y)) + y`` in the 'bireal' structure."""

    def run(self, x: Tensor, stream: Tensor | None) -> tuple[Tensor, Tensor | None]:
        y = self.branch(0, x)
        if self.structure == 'bireal':
            y = y + self.around(x)
            return self.branch(1, y) + y, None
        y = self.branch(1, y)
        return y if self.structure == 'plain' else y + self.around(x), None


class TwinBottleneck(TwinBlock, TwoStreams):
    """Reduce, 3x3, expand between a narrow and a wide stream.

    Args:
        narrow_channels: of the narrow stream coming in, or None for the network's first block, which has none.
    """

    def __init__(self, block: nn.Module, plan: BlockPlan, *, narrow_channels: int | None, **options: object) -> None:
        super().__init__(block, plan, **options)  # type: ignore[arg-type]
        conv: nn.Conv2d = block.conv1  # type: ignore[assignment]
        self.two_streams = self.structure == 'bireal'
        self.takes_stream = self.two_streams and narrow_channels is not None
        self.narrow_pool, self.middle_pool = average_pool(plan.strides[0]), average_pool(plan.strides[1])
        self.narrow_shortcut = None
        if self.takes_stream and narrow_channels != conv.out_channels:
            assert narrow_channels is not None
            shortcut = nn.Conv2d(narrow_channels, conv.out_channels, 1, bias=False, device='meta')
            shortcut.weight = nn.Parameter(conv.weight.new_empty(shortcut.weight.shape))
            nn.init.kaiming_normal_(shortcut.weight, mode='fan_out', nonlinearity='relu')
            self.narrow_shortcut = shortcut.train(block.training)
        self._train_as(block)
