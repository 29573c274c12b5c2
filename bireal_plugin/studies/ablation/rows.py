"""Rows of the grid: accuracies of the cells, and of the real networks that they start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bireal_plugin.errors import InputError
from bireal_plugin.studies.ablation.grid import Unit
from bireal_plugin.studies.ablation.paper_table import Cell
from bireal_plugin.studies.ablation.schedule import unit_result


@dataclass(frozen=True)
class Row:
    """A cell trained with one seed: top-1 in %, seconds of its binary stages, checkpoint below the work directory."""

    cell: Cell
    seed: int
    top1: float
    seconds: float
    checkpoint: str


@dataclass(frozen=True)
class RealRow:
    """The real network that cells of one structure, initialisation and seed start from: top-1 accuracy in %."""

    structure: str
    initialisation: str
    seed: int
    top1: float


def collect_rows(work_dir: Path, units: Sequence[Unit]) -> list[Row]:
    """The cells whose last stage has ended.

    Raises:
        InputError: a stage was not validated by top-1 accuracy.
    """
    rows = []
    for unit in units:
        if unit.cell is not None and unit.last and (result := unit_result(work_dir, unit)) is not None:
            parts = [unit_result(work_dir, other) for other in units if other.folder == unit.folder]
            seconds = sum(part['seconds'] for part in parts if part is not None)
            checkpoint = f'{unit.folder}/{result["checkpoint"]}'
            rows.append(Row(unit.cell, unit.seed, _top1(result, unit), round(seconds, 1), checkpoint))
    return rows


def collect_real_rows(work_dir: Path, units: Sequence[Unit], start: Mapping[str, str]) -> list[RealRow]:
    """The real networks that have ended, of the stages ``start`` (initialisation -> stage)."""
    rows = []
    for unit in units:
        for initialisation, stage in start.items():
            if unit.cell is None and unit.stage == stage and (result := unit_result(work_dir, unit)) is not None:
                rows.append(RealRow(unit.structure, initialisation, unit.seed, _top1(result, unit)))
    return rows


def _top1(result: Mapping[str, Any], unit: Unit) -> float:
    if 'top1' not in result:
        raise InputError(
            f'{unit} has no top-1 accuracy in its result.json; the grid needs val_evaluator=dict(type="TopKAccuracy")'
        )
    return result['top1']


def accuracies(rows: Sequence[Row]) -> dict[tuple[Cell, int], float]:
    """Top-1 by (cell, seed)."""
    return {(row.cell, row.seed): row.top1 for row in rows}
