"""The C kernels against PyTorch, on every instruction set that runs here, natively or under an emulator."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.nn import functional as F

from bireal_plugin.export.c.layout import binary_weights, byte_weights, real_weights, winograd_weights
from bireal_plugin.folding.operator import binary_conv2d, pack_signs
from tests.export.c.compilers import TARGETS, Target

BINARY_CONV, CONV, MAX_POOL, AVERAGE_POOL, MAP, NEAREST, BILINEAR, CONV_INT8, CONV_WINOGRAD = range(9)
OPERATIONS = ('add', 'sub', 'rsub', 'mul', 'div', 'rdiv', 'max', 'min', 'prelu', 'elu', 'sigmoid', 'tanh', 'exp', 'abs')
SHAPES = ('number', 'channel', 'pixel', 'map')


class Runner:
    """A process that runs kernels of one target."""

    def __init__(self, target: Target, folder: Path) -> None:
        program = target.built(Path(__file__).with_name('run_kernels.c'), folder)
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(
        self,
        kernel: int,
        window: Sequence[int],
        arrays: Sequence[Any],
        *,
        argument: int = 0,
        steps: Sequence[tuple[str, str, Any]] = (),
        sign_groups: int = 1,
        whole_words: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Output (rows, columns, channels) and its signs (rows, columns, channels)."""
        assert self.process.stdin
        message = [struct.pack('<17i', kernel, argument, *window)]
        message += [_array(value) for value in [*arrays, *[None] * (6 - len(arrays))]]
        message.append(struct.pack('<i', len(steps)))
        for operation, shape, value in steps:
            number = float(value) if shape == 'number' else 0.0
            message.append(struct.pack('<iif', OPERATIONS.index(operation), SHAPES.index(shape), number))
            message.append(_array(None if shape == 'number' else value))
        self.process.stdin.write(b''.join(message))
        self.process.stdin.flush()
        rows, columns, channels = window[3:6]
        words = -(-(channels // sign_groups) // 32)
        out = np.frombuffer(self._read(rows * columns * channels), np.float32).reshape(rows, columns, channels)
        bits = np.frombuffer(self._read(rows * columns * sign_groups * words), np.uint8)
        bits = np.unpackbits(bits, bitorder='little').reshape(rows, columns, sign_groups, words * 32)
        assert not (whole_words and bits[..., channels // sign_groups :].any())  # behind the last channel
        return out, bits[..., : channels // sign_groups].reshape(rows, columns, channels)

    def _read(self, numbers: int) -> bytes:
        assert self.process.stdout
        data = self.process.stdout.read(4 * numbers)
        assert len(data) == 4 * numbers, f'the kernels ended with {self.process.wait()}'
        return data


def _array(values: Any) -> bytes:
    if values is None:
        return struct.pack('<i', -1)
    values = np.ascontiguousarray(values)
    assert values.dtype.itemsize == 4
    return struct.pack('<i', values.size) + values.tobytes()


@pytest.fixture(scope='module', params=TARGETS)
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = Runner(TARGETS[request.param], tmp_path_factory.mktemp('kernels'))
    yield found
    found.process.stdin.close()  # type: ignore[union-attr]
    assert found.process.wait() == 0


def stored(x: Tensor) -> np.ndarray:
    """(1, C, H, W) as the kernels have it."""
    return np.ascontiguousarray(x[0].permute(1, 2, 0).numpy())


def packed(x: Tensor, groups: int) -> np.ndarray:
    """The sign map of (1, C, H, W)."""
    bits = (stored(x) >= 0).reshape(*x.shape[2:], groups, -1)
    bits = np.pad(bits, ((0, 0), (0, 0), (0, 0), (0, -bits.shape[-1] % 32)))
    return np.packbits(bits, axis=-1, bitorder='little').view('<u4')


@cache
def values(*shape: int) -> Tensor:
    """Random numbers with zeros of both signs among them."""
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(shape, generator=generator)
    x[torch.rand(shape, generator=generator) < 0.1] = 0.0
    x[torch.rand(shape, generator=generator) < 0.1] = -0.0
    return x


SIDE = st.integers(1, 9)
GEOMETRY = st.fixed_dictionaries(
    dict(
        inputs=st.sampled_from([1, 3, 16, 31, 32, 33, 64, 100]),
        outputs=st.sampled_from([1, 5, 16, 17, 32, 40]),
        rows=SIDE,
        columns=st.integers(1, 22),
        kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
        dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        groups=st.sampled_from([1, 1, 1, 2, 3]),
    )
)


def window_of(x: Tensor, y: Tensor, geometry: dict[str, Any]) -> list[int]:
    placed = [geometry[name] for name in ('kernel', 'stride', 'padding', 'dilation')]
    flat = [number for pair in placed for number in pair]
    return [*x.shape[2:], x.shape[1], *y.shape[2:], y.shape[1], *flat, geometry['groups']]


def convolved(geometry: dict[str, Any]) -> tuple[Tensor, Tensor, dict[str, Any]] | None:
    """Input, weight and the arguments of a convolution; None where a window is larger than the padded image."""
    groups = geometry['groups']
    for axis, size in enumerate((geometry['rows'], geometry['columns'])):
        extent = (geometry['kernel'][axis] - 1) * geometry['dilation'][axis] + 1
        if size + 2 * geometry['padding'][axis] < extent:
            return None
    x = values(1, geometry['inputs'] * groups, geometry['rows'], geometry['columns'])
    weight = values(geometry['outputs'] * groups, geometry['inputs'], *geometry['kernel'])
    return x, weight, {key: list(geometry[key]) for key in ('stride', 'padding', 'dilation')}


@settings(max_examples=60, deadline=None)
@given(geometry=GEOMETRY)
def test_binary_convolution_is_bit_exact(runner: Runner, geometry: dict[str, Any]) -> None:
    check_binary(runner, geometry)


def check_binary(runner: Runner, geometry: dict[str, Any]) -> None:
    """Output and its signs, with a shortcut added, against the reference."""
    case = convolved(geometry)
    if case is None:
        return
    x, weight, placed = case
    groups, outputs = geometry['groups'], len(weight)
    scale, bias = values(outputs) + 0.3, values(outputs, 1).flatten()
    y = binary_conv2d(x, pack_signs(weight), scale, bias, *placed.values(), groups)
    shortcut = values(*y.shape)
    arrays = [packed(x, groups), binary_weights(pack_signs(weight), x.shape[1], groups), scale.numpy(), bias.numpy()]
    steps = [('add', 'map', stored(shortcut))]
    # Signs of a grouped layer's output are written by it where every group's blocks are whole.
    whole = groups == 1 or geometry['outputs'] % 16 == 0
    out, signs = runner(BINARY_CONV, window_of(x, y, geometry), arrays, steps=steps, whole_words=whole)
    expected = y + shortcut
    assert np.array_equal(out, stored(expected))
    if whole:
        assert np.array_equal(signs, stored(expected) >= 0)


LARGE = {  # of Bi-Real-18 and 50
    '56 x 56': dict(inputs=64, outputs=64, rows=56, columns=56, kernel=(3, 3), stride=(1, 1), padding=(1, 1)),
    'stride 2': dict(inputs=64, outputs=128, rows=56, columns=56, kernel=(3, 3), stride=(2, 2), padding=(1, 1)),
    '7 x 7': dict(inputs=512, outputs=48, rows=7, columns=7, kernel=(3, 3), stride=(1, 1), padding=(1, 1)),
    '1 x 1': dict(inputs=1024, outputs=40, rows=14, columns=14, kernel=(1, 1), stride=(1, 1), padding=(0, 0)),
    'uneven': dict(inputs=288, outputs=33, rows=30, columns=41, kernel=(3, 3), stride=(1, 1), padding=(1, 1)),
}


@pytest.mark.parametrize('name', LARGE)
def test_large_binary_convolutions(runner: Runner, name: str) -> None:
    check_binary(runner, dict(LARGE[name], dilation=(1, 1), groups=1))


@settings(max_examples=25, deadline=None)
@given(geometry=GEOMETRY)
def test_real_convolution(runner: Runner, geometry: dict[str, Any]) -> None:
    case = convolved(geometry)
    if case is None:
        return
    x, weight, placed = case
    y = F.conv2d(x.double(), weight.double(), values(len(weight)).double(), **placed, groups=geometry['groups'])
    arrays = [stored(x), real_weights(weight, geometry['groups']), None, values(len(weight)).numpy()]
    out, _ = runner(CONV, window_of(x, y, geometry), arrays, whole_words=False)
    terms = F.conv2d(x.double().abs(), weight.double().abs(), **placed, groups=geometry['groups'])
    assert np.all(np.abs(out - stored(y)) <= 2**-20 * (stored(terms) + 1))


STEM = st.fixed_dictionaries(
    dict(
        inputs=st.integers(1, 4),
        outputs=st.sampled_from([1, 5, 16, 17, 40]),
        rows=st.integers(1, 20),
        columns=st.integers(1, 90),
        kernel=st.tuples(st.integers(1, 7), st.just(7)),
        stride=st.tuples(st.integers(1, 3), st.just(2)),
        padding=st.tuples(st.integers(0, 3), st.integers(0, 6)),
        dilation=st.just((1, 1)),
        groups=st.just(1),
    )
)


@settings(max_examples=60, deadline=None)
@given(geometry=STEM)
def test_convolution_from_fewer_products(runner: Runner, geometry: dict[str, Any]) -> None:
    case = convolved(geometry)
    if case is None:
        return
    x, weight, placed = case
    bias = values(len(weight))
    y = F.conv2d(x.double(), weight.double(), bias.double(), **placed)
    arrays = [stored(x), winograd_weights(weight.numpy()), None, bias.numpy()]
    shortcut = values(*y.shape)
    out, signs = runner(CONV_WINOGRAD, window_of(x, y, geometry), arrays, steps=[('add', 'map', stored(shortcut))])
    terms = F.conv2d(x.double().abs(), weight.double().abs(), **placed)
    # Outputs share products, so that the rounding of the largest is found in its neighbours.
    assert np.abs(out - stored(y + shortcut)).max() <= 2**-19 * (float(terms.max()) + 1)
    assert np.array_equal(signs, out >= 0)


def test_fewer_products_round_little_more(runner: Runner) -> None:
    x, weight = torch.randn(1, 3, 40, 96), torch.randn(16, 3, 7, 7)
    geometry = dict(kernel=(7, 7), stride=(2, 2), padding=(3, 3), dilation=(1, 1), groups=1)
    y = F.conv2d(x.double(), weight.double(), stride=2, padding=3)
    forms = (CONV, real_weights(weight, 1)), (CONV_WINOGRAD, winograd_weights(weight.numpy()))
    outs = [runner(kernel, window_of(x, y, geometry), [stored(x), weights])[0] for kernel, weights in forms]
    direct, fewer = (np.square(out - stored(y)).mean() ** 0.5 for out in outs)
    assert fewer < 3 * direct  # 2.3 for such a stem


@settings(max_examples=40, deadline=None)
@given(geometry=GEOMETRY, zero=st.sampled_from([0, -127, 127, 40]))
def test_convolution_in_8_bits_is_bit_exact(runner: Runner, geometry: dict[str, Any], zero: int) -> None:
    geometry = {**geometry, 'groups': 1}
    case = convolved(geometry)
    if case is None:
        return
    x, weight, placed = case
    x, quantized = 4 * x, np.clip(np.rint(60 * weight.numpy()), -127, 127).astype(np.int8)
    q = np.clip(np.rint(x.numpy() * np.float32(16)) + zero, -127, 127)
    sums = F.conv2d(torch.from_numpy(q - zero).double(), torch.from_numpy(quantized).double(), **placed)
    scale, bias = values(len(weight)).numpy(), values(len(weight), 1).flatten().numpy()
    expected = stored(sums).astype(np.float32) * scale + bias
    arranged, weight_sums = byte_weights(quantized, column_dilation=geometry['dilation'][1])
    arrays = [stored(x), arranged.reshape(-1).view(np.int32), scale, bias, None, weight_sums]
    out, signs = runner(CONV_INT8, window_of(x, sums, geometry), arrays, argument=zero)
    assert np.array_equal(out, expected)
    assert np.array_equal(signs, expected >= 0)


POOLS = st.tuples(st.integers(1, 40), SIDE, SIDE, st.integers(1, 4), st.integers(1, 3), st.booleans(), st.booleans())


@settings(max_examples=40, deadline=None)
@given(pool=POOLS, average=st.booleans())
def test_pools(runner: Runner, pool: tuple[Any, ...], average: bool) -> None:
    channels, rows, columns, kernel, stride, ceil, padded = pool
    padding = kernel // 2
    if min(rows, columns) + 2 * padding < kernel:
        return
    x = values(1, channels, rows, columns)
    if average:
        y = F.avg_pool2d(x, kernel, stride, padding, ceil, padded)
    else:
        y = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil)
    window = [
        rows,
        columns,
        channels,
        *y.shape[2:],
        channels,
        kernel,
        kernel,
        stride,
        stride,
        padding,
        padding,
        1,
        1,
        1,
    ]
    kind = AVERAGE_POOL if average else MAX_POOL
    out, signs = runner(kind, window, [stored(x)], argument=int(padded))
    assert np.allclose(out, stored(y), rtol=0, atol=1e-6 if average else 0)
    assert np.array_equal(signs, out >= 0)


@settings(max_examples=30, deadline=None)
@given(channels=st.integers(1, 70), groups=st.sampled_from([1, 2, 3]), pixels=st.integers(1, 9), shift=st.booleans())
def test_signs_alone(runner: Runner, channels: int, groups: int, pixels: int, shift: bool) -> None:
    x = values(1, channels * groups, pixels, 1)
    added = values(channels * groups).numpy() if shift else None
    window = [pixels, 1, channels * groups, pixels, 1, channels * groups, 1, 1, 1, 1, 0, 0, 1, 1, groups]
    out, signs = runner(MAP, window, [stored(x), None, None, None, added], sign_groups=groups)
    assert np.array_equal(out, stored(x))
    assert np.array_equal(signs, stored(x) + (0 if added is None else added) >= 0)


REFERENCES: dict[str, Any] = dict(
    add=torch.add,
    sub=torch.sub,
    rsub=lambda x, v: v - x,
    mul=torch.mul,
    div=torch.div,
    rdiv=lambda x, v: v / x,
    max=torch.maximum,
    min=torch.minimum,
    prelu=lambda x, v: torch.where(x > 0, x, v * x),
    elu=lambda x, v: F.elu(x),
    sigmoid=lambda x, v: x.sigmoid(),
    tanh=lambda x, v: x.tanh(),
    exp=lambda x, v: x.clamp(max=88).exp(),
    abs=lambda x, v: x.abs(),
)


@pytest.mark.parametrize('operation', OPERATIONS)
@pytest.mark.parametrize('shape', SHAPES)
def test_steps(runner: Runner, operation: str, shape: str) -> None:
    x = torch.cat([4 * values(1, 21, 5, 3), 1e-6 * values(1, 21, 5, 3), 100 * values(1, 21, 5, 3)], 2)
    operand = {'number': torch.tensor(0.7), 'channel': values(21) + 2, 'pixel': values(15, 3) + 3}
    operand['map'] = values(1, 21, 15, 3) + 4
    v = operand[shape]
    broadcast = v.view(1, -1, 1, 1) if shape == 'channel' else v
    expected = stored(REFERENCES[operation](x.double(), broadcast.double()))
    plain = {'number': v, 'channel': v.numpy(), 'pixel': v.numpy(), 'map': stored(v) if shape == 'map' else None}
    window = [15, 3, 21, 15, 3, 21, 1, 1, 1, 1, 0, 0, 1, 1, 1]
    out, signs = runner(MAP, window, [stored(x)], steps=[(operation, shape, plain[shape])])
    assert np.allclose(out, expected, rtol=2**-21, atol=1e-38, equal_nan=True)
    # Where the function's sign is that of its argument, the smallest numbers have it too.
    assert np.array_equal(signs, expected.astype(np.float32) >= 0)


@pytest.mark.parametrize('align', [False, True])
@pytest.mark.parametrize('size', [(6, 8), (9, 12), (3, 4), (7, 5), (1, 1)])
def test_resizing(runner: Runner, size: tuple[int, int], align: bool) -> None:
    x = values(1, 19, 3, 4)
    window = [3, 4, 19, *size, 19, 1, 1, 1, 1, 0, 0, 1, 1, 1]
    out, _ = runner(BILINEAR, window, [stored(x)], argument=int(align))
    expected = F.interpolate(x, size, mode='bilinear', align_corners=align)
    assert np.allclose(out, stored(expected), rtol=0, atol=1e-6)
    if size[0] % 3 == 0 and size[1] % 4 == 0:
        out, _ = runner(NEAREST, window, [stored(x)])
        assert np.array_equal(out, stored(F.interpolate(x, size, mode='nearest')))
