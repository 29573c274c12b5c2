"""The grid of Table 1 on a staged config, as a list of stages to train, which ``schedule.py`` trains.

Everything that two cells share is trained once: the real network of a structure and seed (``STRUCTURE/seedN/real``)
runs through ReLU and clip, and the eight cells of that structure and seed start from one of the two.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from bireal_plugin.data import ClassificationDataset
from bireal_plugin.errors import InputError
from bireal_plugin.studies.ablation.paper_table import ALL_CELLS, STRUCTURES, Cell
from bireal_plugin.training import stage_config


@dataclass(frozen=True)
class Roles:
    """Stages of a config by their part in the grid, in their order.

    Attributes:
        start: the stage that cells of each initialisation start from, ``dict(relu=..., clip=...)``.
        real: the stages with a real activation.
        binary: the stages that binarize (``binary``, or ``step1, step2``).
        norm: the last one, with absorbed scales (``bn``); trained only on request.
    """

    start: Mapping[str, str]
    real: tuple[str, ...]
    binary: tuple[str, ...]
    norm: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """One stage to train, in ``folder`` of the work directory; a shared real one when ``cell`` is None.

    Attributes:
        after: (folder, stage) whose weights it starts from; None for the first stage.
        last: True for the stage whose accuracy is the cell's.
    """

    folder: str
    stage: str
    structure: str
    seed: int
    cell: Cell | None
    after: tuple[str, str] | None
    last: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """(folder, stage), which no other unit has."""
        return self.folder, self.stage

    def __str__(self) -> str:
        return f'{self.folder}/{self.stage}'


def stage_roles(config: Config) -> Roles:
    """Sort a config's stages by the activation in front of their 1-bit convolutions.

    Raises:
        InputError: the backbone is no BiRealResNet, or a stage that the grid starts from is absent.
    """
    if config.get('model', {}).get('backbone', {}).get('type') != 'BiRealResNet' or not config.get('stages'):
        raise InputError(
            f'{config.filename}: the grid needs a config with stages whose model.backbone is a BiRealResNet'
        )
    activations = {name: stage_config(config, name).model.backbone.get('activation', 'sign') for name in config.stages}
    real = tuple(name for name, activation in activations.items() if activation != 'sign')
    norm = tuple(name for name, overrides in config.stages.items() if overrides.get('absorb_scales'))
    start = {activation: name for name, activation in activations.items() if activation in ('relu', 'clip')}
    binary = tuple(name for name in activations if name not in (*real, *norm))
    absent = [f'activation={name!r}' for name in ('relu', 'clip', 'sign') if name not in activations.values()]
    if absent:
        raise InputError(f'{config.filename} has no stage with {" or ".join(absent)}, which the grid needs')
    return Roles(start, real, binary, norm)


def choose_cells(patterns: Sequence[str] | None) -> list[Cell]:
    """The cells whose name matches one of the patterns (``bireal-*``, ``*-clip-*-ApproxSign``); all without patterns.

    Raises:
        InputError: a pattern that matches none.
    """
    for pattern in patterns or []:
        if not any(fnmatchcase(cell.name, pattern) for cell in ALL_CELLS):
            raise InputError(
                f'--cells {pattern}: no cell is called so; names are structure-initialisation-weight-sign, such as '
                f"{ALL_CELLS[-1].name}, with * for anything, such as 'bireal-*'"
            )
    return [cell for cell in ALL_CELLS if any(fnmatchcase(cell.name, pattern) for pattern in patterns or ['*'])]


def plan_units(roles: Roles, cells: Sequence[Cell], seeds: Sequence[int], *, with_norm: bool = False) -> list[Unit]:
    """Every stage to train, each behind the one it starts from, seed by seed: the first whole table comes early."""
    binary = roles.binary + (roles.norm if with_norm else ())
    units = []
    for seed in seeds:
        for structure in STRUCTURES:
            mine = [cell for cell in cells if cell.structure == structure]
            if not mine:
                continue
            shared = f'{structure}/seed{seed}/real'
            deepest = max(roles.real.index(roles.start[cell.initialisation]) for cell in mine)
            after = None
            for stage in roles.real[: deepest + 1]:
                units.append(Unit(shared, stage, structure, seed, None, after))
                after = (shared, stage)
            for cell in mine:
                after = (shared, roles.start[cell.initialisation])
                folder = f'{structure}/seed{seed}/{cell.choices}'
                for stage in binary:
                    units.append(Unit(folder, stage, structure, seed, cell, after, last=stage == binary[-1]))
                    after = (folder, stage)
    return units


def unit_config(config: Config, unit: Unit, roles: Roles, *, start: str | None = None) -> Config:
    """The config whose stages are those of the unit's folder, with the unit's structure, choices and seed.

    Args:
        start: checkpoint that the first binary stage loads.
    """
    names = roles.real if unit.cell is None else roles.binary + roles.norm
    content = config.to_dict()
    content['stages'] = {name: content['stages'][name] for name in names}
    overrides = seed_overrides(config, unit.seed)
    for name in names:
        backbone = f'stages.{name}.model.backbone'
        overrides[f'{backbone}.structure'] = unit.structure
        if unit.cell is not None:
            overrides[f'{backbone}.sign'] = unit.cell.sign
            if name in roles.binary:  # where scales are absorbed, weights are +-1 already
                overrides[f'{backbone}.weight'] = unit.cell.weight
    if start is not None:
        overrides |= {f'stages.{names[0]}.load_from': start, f'stages.{names[0]}.load_strict': True}
    merged = Config(content, filename=config.filename)
    merged.merge_from_dict(overrides)
    return merged


def seed_overrides(config: Config, seed: int) -> dict[str, Any]:
    """Overrides that give a config the ``seed``: of the run, and of the training data where they take one."""
    overrides: dict[str, Any] = {'randomness.seed': seed}
    if _takes_seed(config.train_dataloader.dataset):
        overrides['train_dataloader.dataset.seed'] = seed
    return overrides


def _takes_seed(dataset: Mapping[str, Any]) -> bool:
    cls = DATASETS.get(dataset['type'])
    if isinstance(cls, type) and issubclass(cls, ClassificationDataset):
        return True
    return cls is not None and 'seed' in inspect.signature(cls).parameters


def expected_seconds(
    remaining: Sequence[tuple[str, int]], known: Sequence[tuple[str, int, float]], *, jobs: int
) -> float | None:
    """Seconds that the remaining (stage, epochs) take, from the (stage, epochs, seconds) of those that have ended.

    An epoch costs the mean of the ended stages of that name, of all ended ones if there is none; None before the first.
    """
    if not known:
        return None

    def rate(stage: str) -> float:
        rows = [row for row in known if row[0] == stage] or known
        return sum(seconds for _, _, seconds in rows) / sum(epochs for _, epochs, _ in rows)

    return sum(rate(stage) * epochs for stage, epochs in remaining) / jobs
