"""Results of an inference benchmark as JSON and as Markdown; the tables come from the raw times alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bireal_plugin.studies.speed.engine_profile import KINDS, Profile, ProfiledLayer
from bireal_plugin.studies.speed.inference import LONG_RUN_S, Comparison, Repetitions, speed_up
from bireal_plugin.studies.speed.paper_rows import can_be_compared, table_rows
from bireal_plugin.text_table import markdown_table

PAPER_ROWS = (
    'The rows of Tables 6 and 7 of the paper (18 layers, FPGA; 6.07x on the board): milliseconds of the 32-bit network '
    'and of ours, and how many times as fast. What an engine joins with a convolution is in its row.'
)
LAYERS = (
    'Layers of ours on {engine}: how many are alike, microseconds of one, products of an input and a weight that it '
    'adds up in a nanosecond, and bytes of maps, signs and weights that it reads and writes in one.'
)
NOT_LIBRARIES = ('cpu', 'instructions', 'held to')


@dataclass(frozen=True)
class Report:
    """Results with the machine and the plan they come from."""

    machine: dict[str, str]
    threads: int
    plan: Repetitions
    results: tuple[Comparison, ...]

    def to_json(self) -> str:
        """Everything, every single time included."""
        return json.dumps(asdict(self), indent=1) + '\n'

    def markdown(self) -> str:
        """The conditions of the measurement; then, per model and shape, the times and those of our layers."""
        sections = [self.how(), *(section(result) for result in self.results)]
        return '\n'.join(line for section in sections for line in (*section, ''))

    def how(self) -> list[str]:
        """Lines on the machine, the libraries and the repetitions."""
        libraries = ', '.join(f'{name} {text}' for name, text in self.machine.items() if name not in NOT_LIBRARIES)
        held = f', held to {self.machine["held to"]}' if 'held to' in self.machine else ''
        return [
            f'{self.machine["cpu"]} ({self.machine["instructions"]}){held}, {threads(self.threads)} for every engine; '
            f'{libraries}.',
            f'One process, {self.plan.rounds} interleaved rounds of {self.plan.repeats} timed runs (of one where a '
            f'run takes over {1e3 * LONG_RUN_S:.0f} ms), after warm-up. Time: one call from Python, from a batch in '
            'memory to outputs in memory. Columns x: how many times as fast, by medians. MB: what the engine loads.',
        ]


def threads(count: int) -> str:
    """The words for a number of threads."""
    return f'{count} thread' if count == 1 else f'{count} threads'


def title(result: Comparison) -> str:
    """Model and shape: ``Bi-Real-18, 1 x 3 x 224 x 224``."""
    return f'{result.model}, {" x ".join(map(str, result.shape))}'


def section(result: Comparison) -> list[str]:
    """Lines of one result: a row per side and engine, and our milliseconds by kind of layer."""
    rows = []
    for timing in result.timings:
        first, third = timing.quartiles_ms
        row = {
            'side': timing.side,
            'engine': timing.engine,
            'median, ms': f'{timing.median_ms:.2f}',
            'quartiles, ms': f'{first:.2f} to {third:.2f}',
            'fastest, ms': f'{timing.fastest_ms:.2f}',
        }
        if result.shape[0] > 1:
            row['images/s'] = f'{1e3 * result.shape[0] / timing.median_ms:.0f}'
        if timing.joules is not None:
            row['J/image'] = f'{timing.joules / result.shape[0]:.4f}'
        for reference in result.references:
            row[f'x {reference.side} {reference.engine}'] = f'{speed_up(timing, reference):.1f}x'
        rows.append({**row, 'MB': f'{timing.file_bytes / 1e6:.2f}'})
    lines = [f'### {title(result)}', '', *markdown_table(rows, left=('side', 'engine')).splitlines()]
    if result.profiles:
        lines += ['', 'Milliseconds of ours by kind of layer (number of layers), from the profile of the engine', '']
        lines += markdown_table(_kinds(result.profiles), left=('kind',)).splitlines()
    for profile in result.profiles:
        if any(layer.bytes for layer in profile.layers):
            lines += ['', f'{LAYERS.format(engine=profile.engine)}', '']
            lines += markdown_table(_layers(profile), left=('layer',)).splitlines()
    real = result.real
    if real is not None and all(can_be_compared(profile, real) for profile in result.profiles):
        lines += ['', PAPER_ROWS, '']
        lines += markdown_table(table_rows(result.profiles, real), left=('layers',)).splitlines()
    return lines


def _kinds(profiles: Sequence[Profile]) -> list[dict[str, str]]:
    columns = {profile.engine: profile.kinds() for profile in profiles}
    rows = []
    for kind in KINDS:
        if any(kind in column for column in columns.values()):
            row = {'kind': kind}
            for engine, column in columns.items():
                count, ms = column.get(kind, (0, 0.0))
                row[engine] = f'{ms:.3f} ({count})' if count else ''
            rows.append(row)
    layers, call = {'kind': 'all layers'}, {'kind': 'the profiled call'}
    for profile in profiles:
        layers[profile.engine] = f'{profile.layers_ms:.3f} ({len(profile.layers)})'
        call[profile.engine] = f'{profile.whole_ms:.3f}'
    return [*rows, layers, call]


def _layers(profile: Profile) -> list[dict[str, str]]:
    """A row for all layers of the same kernel and sizes, in the order of the network."""
    alike: dict[str, list[ProfiledLayer]] = {}
    for layer in profile.layers:
        alike.setdefault(layer.kernel, []).append(layer)
    rows = []
    for kernel, layers in alike.items():
        nanoseconds = 1e6 * sum(layer.ms for layer in layers)
        products = sum(layer.products for layer in layers) / nanoseconds
        rows.append(
            {
                'layer': kernel,
                'alike': str(len(layers)),
                'us': f'{nanoseconds / 1e3 / len(layers):.1f}',
                'products/ns': f'{products:.0f}' if products else '',
                'bytes/ns': f'{sum(layer.bytes for layer in layers) / nanoseconds:.0f}',
            }
        )
    return rows
