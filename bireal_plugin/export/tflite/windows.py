"""Places of sliding windows: TFLite knows the paddings SAME and VALID alone, PyTorch any number of pixels in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Windows:
    """The windows along one axis, in pixels.

    Args:
        size: of the input. out: of the output. before: padding in front of the first pixel.
    """

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    before: int

    @property
    def extent(self) -> int:
        """Pixels from the first to the last tap of a window."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def end(self) -> int:
        """One behind the last pixel that a window looks at."""
        return (self.out - 1) * self.stride - self.before + self.extent

    @property
    def after(self) -> int:
        """Padding that has to stand behind the last pixel."""
        return max(self.end - self.size, 0)

    @property
    def inside(self) -> bool:
        """Every window lies within the input, and VALID gives exactly these."""
        return self.before == 0 and self.end <= self.size and self.out == (self.size - self.extent) // self.stride + 1

    def same(self, *, extra: int = 0) -> bool:
        """SAME on an input with ``extra`` pixels behind it starts with exactly these windows."""
        size = self.size + extra
        out = -(-size // self.stride)
        padding = max((out - 1) * self.stride + self.extent - size, 0)
        return padding // 2 == self.before and (out >= self.out if extra else out == self.out)

    def inputs(self, place: int) -> list[int]:
        """The pixel under each tap of the window at ``place``; outside of the input it is padding."""
        return [place * self.stride - self.before + tap * self.dilation for tap in range(self.kernel)]


def windows(
    shape: Sequence[int],
    out_shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int] = (1, 1),
) -> tuple[Windows, Windows]:
    """The windows along rows and columns, from stored shapes ``(N, H, W, C)``."""
    rows, columns = (
        Windows(*values) for values in zip(shape[1:3], out_shape[1:3], kernel, stride, dilation, padding, strict=True)
    )
    return rows, columns


def pads(axes: Sequence[Windows]) -> list[list[int]]:
    """The padding of a stored tensor, in front of and behind each dimension, that brings all windows inside."""
    return [[0, 0], *([axis.before, axis.after] for axis in axes), [0, 0]]


def padded(shape: Sequence[int], amounts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The shape of a tensor with ``amounts`` of padding in front and behind."""
    return tuple(size + before + after for size, (before, after) in zip(shape, amounts, strict=True))
