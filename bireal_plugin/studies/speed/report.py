"""What an inference benchmark found, as JSON and as Markdown. The tables come from the raw times alone."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bireal_plugin.studies.speed.engine_profile import KINDS, Layer, Profile
from bireal_plugin.studies.speed.inference import LONG_RUN_S, Plan, Result, Timing, speed_up

NOT_LIBRARIES = ('cpu', 'instructions')


@dataclass(frozen=True)
class Report:
    """Results with the machine and the plan they come from."""

    machine: dict[str, str]
    threads: int
    plan: Plan
    results: tuple[Result, ...]

    def to_json(self) -> str:
        """Everything, every single time included; ``from_json`` reads it again."""
        return json.dumps(asdict(self), indent=1) + '\n'

    def markdown(self) -> str:
        """How it was measured, then per model and shape the times and where ours spends them."""
        sections = [self.how(), *(section(result) for result in self.results)]
        return '\n'.join(line for section in sections for line in (*section, ''))

    def how(self) -> list[str]:
        """Lines that say what ran where and how."""
        libraries = ', '.join(f'{name} {text}' for name, text in self.machine.items() if name not in NOT_LIBRARIES)
        return [
            f'{self.machine["cpu"]} ({self.machine["instructions"]}), {threads(self.threads)} for every engine; '
            f'{libraries}.',
            f'One process, {self.plan.rounds} interleaved rounds of {self.plan.repeats} timed runs (of one where a '
            f'run takes over {1e3 * LONG_RUN_S:.0f} ms), after warm-up. Time: one call from Python, from a batch in '
            'memory to outputs in memory. Columns x: how many times as fast, by medians. MB: what the engine loads.',
        ]


def from_json(text: str) -> Report:
    """The report that ``to_json`` wrote."""
    content = json.loads(text)
    return Report(
        machine=content['machine'],
        threads=content['threads'],
        plan=Plan(**content['plan']),
        results=tuple(_result(result) for result in content['results']),
    )


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.partial')
    try:
        partial.write_text(text)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def threads(count: int) -> str:
    """The words for a number of threads."""
    return f'{count} thread' if count == 1 else f'{count} threads'


def title(result: Result) -> str:
    """Model and shape: ``Bi-Real-18, 1 x 3 x 224 x 224``."""
    return f'{result.model}, {" x ".join(map(str, result.shape))}'


def _result(content: dict[str, Any]) -> Result:
    timings = [Timing(**{**timing, 'times_ms': tuple(timing['times_ms'])}) for timing in content['timings']]
    profiles = [
        Profile(**{**profile, 'layers': tuple(Layer(**layer) for layer in profile['layers'])})
        for profile in content['profiles']
    ]
    return Result(content['model'], tuple(content['shape']), tuple(timings), tuple(profiles))


def section(result: Result) -> list[str]:
    """Lines of one result: a row per side and engine, and our milliseconds by kind of layer."""
    references = result.references
    ratios = [f'x {reference.side} {reference.engine}' for reference in references]
    rows = [('side', 'engine', 'median, ms', 'quartiles, ms', 'fastest, ms', *ratios, 'MB')]
    for timing in result.timings:
        first, third = timing.quartiles_ms
        milliseconds = (f'{timing.median_ms:.2f}', f'{first:.2f} to {third:.2f}', f'{timing.fastest_ms:.2f}')
        ratios = [f'{speed_up(timing, reference):.1f}x' for reference in references]
        rows.append((timing.side, timing.engine, *milliseconds, *ratios, f'{timing.file_bytes / 1e6:.2f}'))
    lines = [f'### {title(result)}', '', *_table(rows, text_columns=2)]
    if result.profiles:
        lines += ['', 'Where ours spends its time: milliseconds (number of layers), by the profile of the engine', '']
        lines += _table(_kinds(result.profiles), text_columns=1)
    return lines


def _kinds(profiles: Sequence[Profile]) -> list[tuple[str, ...]]:
    columns = [profile.kinds() for profile in profiles]
    kinds = [kind for kind in KINDS if any(kind in column for column in columns)]
    rows: list[tuple[str, ...]] = [('kind', *(profile.engine for profile in profiles))]
    for kind in kinds:
        cells = [column.get(kind) for column in columns]
        rows.append((kind, *('' if cell is None else f'{cell[1]:.3f} ({cell[0]})' for cell in cells)))
    rows.append(('all layers', *(f'{profile.layers_ms:.3f} ({len(profile.layers)})' for profile in profiles)))
    rows.append(('the profiled call', *(f'{profile.whole_ms:.3f}' for profile in profiles)))
    return rows


def _table(rows: Sequence[tuple[str, ...]], *, text_columns: int) -> list[str]:
    """Markdown; the columns after the first ``text_columns`` are aligned right."""
    head, *body = [f'| {" | ".join(row)} |' for row in rows]
    rule = ['---'] * text_columns + ['---:'] * (len(rows[0]) - text_columns)
    return [head, f'| {" | ".join(rule)} |', *body]
