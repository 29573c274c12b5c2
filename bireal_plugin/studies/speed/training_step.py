"""Time and memory of a training step: the binary network beside its float twin and beside the usual formulation.

Three sides, the same batch, interleaved step by step so that a shared machine slows all of them alike:

* ``float``: the same trunk with Clip and real weights;
* ``ours``: signs and 1-bit weights through the one autograd function of ``conv``;
* ``mask``: the formulation most published code uses, elementary operations whose masks autograd keeps alive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bireal_plugin.binary import binary_convolutions
from bireal_plugin.models import BiRealClassifier, BiRealResNet

StepPrecision = Literal['f32', 'bf16']
Formulation = Literal['float', 'ours', 'mask']
SIDES: tuple[Formulation, ...] = get_args(Formulation)


@dataclass(frozen=True)
class Setting:
    """One row of the benchmark.

    Args:
        depth: of the network. batch: images per step. size: their height and width in px.
        precision: 'f32', or 'bf16' autocast. compiled: through torch.compile. device: 'cpu' or 'cuda'.
    """

    depth: int = 18
    batch: int = 16
    size: tuple[int, int] = (224, 224)
    precision: StepPrecision = 'f32'
    compiled: bool = False
    device: str = 'cpu'


@dataclass(frozen=True)
class Measurement:
    """Median and spread of one side's step in milliseconds, and its peak memory in MiB (None where not measured)."""

    side: Formulation
    median_ms: float
    fastest_ms: float
    slowest_ms: float
    peak_mib: float | None = None


class MaskConv2d(nn.Conv2d):
    """The usual formulation: sign minus the detached polynomial plus the polynomial, for input and weight."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, O, H', W')``; BinaryConv2d's defaults but for sign(0), which is 0 here."""
        below, negative, inside = x < -1, x < 0, x < 1
        polynomial = -1 * below.to(x.dtype) + (x * x + 2 * x) * (1 - below.to(x.dtype))
        polynomial = polynomial * negative.to(x.dtype) + (2 * x - x * x) * (1 - negative.to(x.dtype))
        polynomial = polynomial * inside.to(x.dtype) + 1 * (1 - inside.to(x.dtype))
        signs = torch.sign(x).detach() - polynomial.detach() + polynomial
        w = self.weight
        scale = w.abs().mean((1, 2, 3), keepdim=True).detach()
        clipped = w.clamp(-1, 1)
        binary = (scale * torch.sign(w)).detach() - clipped.detach() + clipped
        return F.conv2d(signs, binary, self.bias, self.stride, self.padding, self.dilation, self.groups)


def build(side: Formulation, depth: int) -> nn.Module:
    """A 1000-class classifier whose trunk is one of the three sides, in channels_last."""
    real = side == 'float'
    torch.manual_seed(0)
    trunk = BiRealResNet(depth, activation='clip' if real else 'sign', weights='real' if real else 'binary')
    if side == 'mask':
        for name, conv in list(binary_convolutions(trunk)):
            plain = conv.to_float()
            trunk.set_submodule(name, plain)
            plain.__class__ = MaskConv2d
    return BiRealClassifier(trunk, 1000).to(memory_format=torch.channels_last)


def training_step(side: Formulation, setting: Setting) -> Callable[[], None]:
    """A function that trains ``side`` by one SGD step on a fixed random batch."""
    device = torch.device(setting.device)
    model = build(side, setting.depth).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    torch.manual_seed(1)
    images = torch.randn(setting.batch, 3, *setting.size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (setting.batch,), device=device)
    forward = torch.compile(model) if setting.compiled else model
    low = setting.precision == 'bf16'

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            loss = forward(images, labels, mode='loss')['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == 'cuda':
            torch.cuda.synchronize(device)

    return step


def measure(
    setting: Setting, *, steps: int, warm_up: int = 2, sides: Sequence[Formulation] = SIDES
) -> list[Measurement]:
    """Step times of all sides, interleaved: every round trains each of them by one step."""
    functions = {side: training_step(side, setting) for side in sides}
    times: dict[Formulation, list[float]] = {side: [] for side in sides}
    for i in range(warm_up + steps):
        for side, step in functions.items():
            start = time.perf_counter()
            step()
            if i >= warm_up:
                times[side].append(1e3 * (time.perf_counter() - start))
    return [Measurement(side, median(t), min(t), max(t)) for side, t in times.items()]


def peak_memory(side: Formulation, setting: Setting, *, steps: int = 3) -> float:
    """Peak memory in MiB: the GPU allocator's, or on a CPU the resident set of a fresh process that only trains."""
    if setting.device == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        measure(setting, steps=steps, warm_up=0, sides=[side])
        return torch.cuda.max_memory_allocated() / 2**20
    threads = torch.get_num_threads()
    with ProcessPoolExecutor(1, get_context('spawn'), torch.set_num_threads, (threads,)) as fresh:
        return fresh.submit(_resident_peak, side, setting, steps).result()


def _resident_peak(side: Formulation, setting: Setting, steps: int) -> float:
    measure(setting, steps=steps, warm_up=0, sides=[side])
    # VmHWM belongs to this program; ru_maxrss would start from the parent's.
    peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
    return int(peak.split()[1]) / 2**10


def table(setting: Setting, measurements: Sequence[Measurement]) -> list[str]:
    """Markdown rows, each side's ratio to the float twin and to the mask formulation beside its own numbers."""
    times = {m.side: m.median_ms for m in measurements}
    memory = {m.side: m.peak_mib for m in measurements}
    name = f'{setting.device}, {setting.precision}, {"compiled" if setting.compiled else "eager"}'
    rows = []
    for m in measurements:
        ratios = [f'{m.median_ms / times[other]:.2f}' if other in times else '' for other in ('float', 'mask')]
        reference = memory.get('float')
        share = '' if m.peak_mib is None or reference is None else f'{m.peak_mib / reference:.2f}'
        rows.append(
            f'| {name} | {m.side} | {m.median_ms:.0f} ({m.fastest_ms:.0f} to {m.slowest_ms:.0f}) | '
            f'{1e3 * setting.batch / m.median_ms:.1f} | {ratios[0]} | {ratios[1]} | '
            f'{"" if m.peak_mib is None else f"{m.peak_mib:.0f}"} | {share} |'
        )
    return rows


HEADER = [
    '| setting | side | step, ms: median (range) | images/s | x float | x mask | peak memory, MiB | x float |',
    '|---|---|---|---|---|---|---|---|',
]
