"""Time of one inference: our network, its float twin and torchvision's ResNet on every engine, side by side.

All of them live in one process and take turns round by round, so that a shared machine slows all alike. A turn starts
with one run that is not timed: it finds the caches as the side before left them, and in service they would be warm.
Where a run is so long that this does not show, a turn is one timed run.
"""

from __future__ import annotations

import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any, TypeVar

import torch

from bireal_plugin.errors import InputError
from bireal_plugin.progress import say
from bireal_plugin.studies.speed.c_profile import profile_c
from bireal_plugin.studies.speed.engine_profile import Profile, profile
from bireal_plugin.studies.speed.engines import OPENVINO, C, TimedEngine, check_memory, combinations, energy
from bireal_plugin.studies.speed.networks import Contender, Networks
from bireal_plugin.studies.speed.prepared import Forms, Prepared, prepare

Shape = tuple[int, int, int, int]
Key = TypeVar('Key')
SMALLEST = 32  # px; the trunk halves an image five times
LONG_RUN_S = 0.1
REAL_ENGINE: TimedEngine = 'openvino-f32'  # on which the 32-bit network is profiled, torchvision's if there is one


@dataclass(frozen=True)
class Repetitions:
    """Runs of each side: ``warm_up`` at first, then ``rounds`` turns of one untimed and ``repeats`` timed runs."""

    rounds: int = 30
    repeats: int = 3
    warm_up: int = 3

    def __post_init__(self) -> None:
        if min(self.rounds, self.repeats, self.warm_up) < 1:
            raise InputError('--rounds, --repeats and --warm-up must be at least 1')


@dataclass(frozen=True)
class Timing:
    """All times of one side on one engine in milliseconds, in the order measured; see ``Prepared`` for the rest.

    ``joules`` is what the processors spent on one run, where the machine reports it.
    """

    side: Contender
    engine: TimedEngine
    threads: int
    file_bytes: int
    times_ms: tuple[float, ...]
    joules: float | None = None

    @property
    def median_ms(self) -> float:
        """The middle of all times."""
        return median(self.times_ms)

    @property
    def fastest_ms(self) -> float:
        """The shortest time, as if nothing else ran on the machine."""
        return min(self.times_ms)

    @property
    def quartiles_ms(self) -> tuple[float, float]:
        """The range that the middle half of the times lies in."""
        if len(self.times_ms) == 1:
            return self.times_ms[0], self.times_ms[0]
        first, _, third = quantiles(self.times_ms, n=4, method='inclusive')
        return first, third


@dataclass(frozen=True)
class Comparison:
    """One model at one shape: a timing per side and engine, profiles of ours, and one of the 32-bit network."""

    model: str
    shape: Shape
    timings: tuple[Timing, ...]
    profiles: tuple[Profile, ...]
    real: Profile | None = None

    @property
    def references(self) -> list[Timing]:
        """Timings to compare with: torchvision (or the twin) on OpenVINO in int8 and float32, and on torch eager."""
        side = 'torchvision' if any(t.side == 'torchvision' for t in self.timings) else 'twin'
        engines = ('openvino-int8', 'openvino-f32', 'torch')
        return sorted(
            (t for t in self.timings if t.side == side and t.engine in engines), key=lambda t: engines.index(t.engine)
        )


def speed_up(timing: Timing, reference: Timing) -> float:
    """Ratio of the medians: above 1 where ``timing`` is faster than ``reference``."""
    return reference.median_ms / timing.median_ms


def check_shape(shape: Sequence[int], networks: Networks) -> Shape:
    """``shape`` as ``(N, C, H, W)``.

    Raises:
        InputError: it is none, or not one that the network takes.
    """
    if len(shape) != 4 or min(shape) < 1:
        raise InputError(f'a shape is four numbers of 1 or more, N C H W, not {" ".join(map(str, shape))}')
    text = f'{shape[2]} {shape[3]}'
    if shape[1] != networks.in_channels:
        raise InputError(f'{networks.name} takes images of {networks.in_channels} channels, not {shape[1]}')
    if min(shape[2:]) < SMALLEST and tuple(shape[2:]) != networks.size:
        raise InputError(f'--size {text}: height and width must be at least {SMALLEST} pixels')
    return shape[0], shape[1], shape[2], shape[3]


def benchmark(
    networks: Networks,
    shape: Shape,
    *,
    sides: Sequence[Contender],
    engines: Sequence[TimedEngine],
    threads: int,
    plan: Repetitions,
) -> Comparison:
    """Time every side on every engine at one shape, and profile ours and the 32-bit one. Progress goes to stderr.

    Args:
        sides: those of them that ``networks`` has are timed.
        threads: of every engine; ``pin_threads`` was called with it.
    """
    present = [side for side in sides if side in networks.sides]
    if not present:
        raise InputError(f'{networks.name} has no side {", ".join(sides)}; it has {", ".join(networks.sides)}')
    pairs = combinations(present, engines)
    check_memory(shape, len(pairs))
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        forms = {
            side: Forms(networks.sides[side], images, folder=Path(tempfile.mkdtemp(dir=folder)), threads=threads)
            for side in dict.fromkeys(side for side, _ in pairs)
        }
        prepared: dict[tuple[Contender, TimedEngine], Prepared] = {}
        long: set[tuple[Contender, TimedEngine]] = set()
        for i, (side, engine) in enumerate(pairs):
            say(f'{networks.name}: preparing {side} on {engine} ({i + 1} of {len(pairs)})', file=sys.stderr)
            prepared[side, engine] = prepare(engine, forms[side])
            # After warm-up, compilation and allocation are over.
            if min(timeit.repeat(prepared[side, engine].run, number=1, repeat=plan.warm_up)) > LONG_RUN_S:
                long.add((side, engine))
        spent: dict[tuple[Contender, TimedEngine], list[float]] = {pair: [] for pair in pairs}
        times = measure({pair: p.run for pair, p in prepared.items()}, plan, long=long, spent=spent)
        timings = tuple(
            Timing(
                *pair,
                prepared[pair].threads,
                prepared[pair].file_bytes,
                tuple(times[pair]),
                mean(spent[pair]) / (1 if pair in long else plan.repeats) if spent[pair] else None,
            )
            for pair in pairs
        )
        runs: dict[str, int] = dict(runs=plan.rounds * plan.repeats, warm_up=plan.warm_up)
        profiles = tuple(
            (profile if engine in OPENVINO else profile_c)(engine, forms['ours'], **runs)
            for side, engine in pairs
            if side == 'ours' and engine in (*OPENVINO, *C)
        )
        reals = [side for side, engine in pairs if side != 'ours' and engine == REAL_ENGINE]
        real = profile(REAL_ENGINE, forms[reals[-1]], **runs) if reals and profiles else None
    return Comparison(networks.name, shape, timings, profiles, real)


def measure(
    runs: Mapping[Key, Callable[[], Any]],
    plan: Repetitions,
    *,
    long: Collection[Key] = (),
    spent: Mapping[Key, list[float]] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Key, list[float]]:
    """Times of every function in milliseconds, taken in turns: ``rounds * repeats`` of each.

    Args:
        long: those of them that are timed once in a turn, without a run before. clock: in seconds.
        spent: lists to which the joules of the timed runs of a turn are added, where the machine reports them.
    """
    times: dict[Key, list[float]] = {key: [] for key in runs}
    for i in range(plan.rounds):
        for key, run in runs.items():
            if key not in long:
                run()
            before = energy()
            for _ in range(1 if key in long else plan.repeats):
                start = clock()
                run()
                times[key].append(1e3 * (clock() - start))
            after = energy()
            if spent is not None and before is not None and after is not None and after >= before:
                spent[key].append(after - before)  # the counter starts again from 0 at times
        if (i + 1) % max(1, plan.rounds // 10) == 0:
            say(f'round {i + 1} of {plan.rounds}', file=sys.stderr)
    return times
