"""The files of an export: planned, refused where they would replace others, written, marked where they are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import ENGINES, engine_of, files_of, write
from bireal_plugin.export.packed.format import read_packed
from bireal_plugin.export.session_io import Precision
from bireal_plugin.shipping.network import Network
from bireal_plugin.shipping.verify.limits import Artefact, Verification
from bireal_plugin.shipping.verify.verify import mark, unverified_marker


def plan(formats: Sequence[str], precisions: Sequence[str], folder: Path, name: str) -> list[Artefact]:
    """The artefacts of some formats with real layers in some precisions; one file may be several artefacts.

    Raises:
        InputError: an unknown format or precision, or a format without any of the precisions.
    """
    known = list(dict.fromkeys(key for engine in ENGINES.values() for key in engine.precisions))
    for what, given, allowed in (('format', formats, ENGINES), ('precision of real layers', precisions, known)):
        for value in given:
            if value not in allowed:
                raise InputError(f'there is no {what} {value!r}; there are {", ".join(allowed)}')
    artefacts = []
    for format in dict.fromkeys(formats):
        engine = ENGINES[format]
        chosen = [key for key in engine.precisions if key in precisions]
        if not chosen:
            raise InputError(
                f'{format} has real layers {", ".join(engine.precisions)} and none of {", ".join(precisions)}; add '
                'one of them to --real-layers or leave the format out'
            )
        for key in chosen:
            own_file = engine.precisions[key].own_file
            path = folder / f'{name}{f"_{key}" if own_file else ""}{engine.suffix}'
            artefacts.append(Artefact(path, format, key))
    return artefacts


def written_before(path: Path, precision: Precision) -> Artefact:
    """The artefact in a file; a packed file tells its precision itself.

    Raises:
        InputError: no engine has this suffix, or the engine has no such precision.
    """
    engine = engine_of(path)
    format = next(name for name, known in ENGINES.items() if known is engine)
    if format == 'packed':
        precision = cast(Precision, read_packed(path).real_layers)
    if precision not in engine.precisions:
        raise InputError(f'{path}: {format} has real layers {", ".join(engine.precisions)}, not {precision}')
    return Artefact(path, format, precision)


def refuse_existing(artefacts: Iterable[Artefact]) -> None:
    """Raise InputError if a file that an export writes is there already."""
    for artefact in artefacts:
        for path in files_of(artefact.path):
            if path.exists():
                raise InputError(f'{path} exists; give another --out, --overwrite or --skip-existing')


def present(artefact: Artefact) -> bool:
    """Whether all files of an artefact are there, and none of them is marked as wrong."""
    return all(path.exists() for path in files_of(artefact.path)) and not unverified_marker(artefact.path).exists()


def export_all(
    artefacts: Sequence[Artefact],
    network: Network,
    shape: Sequence[int],
    calibration: Callable[[], list[np.ndarray]],
) -> tuple[list[Artefact], list[str]]:
    """Write every artefact.

    Args:
        shape: ``(N, C, H, W)`` of the input. calibration: gives the batches for int8, when they are needed.

    Returns:
        The artefacts that were written, and a sentence for each that could not be.
    """
    written: dict[Path, str | None] = {}
    sentences, done = [], []
    for artefact in artefacts:
        if artefact.path not in written:
            try:
                _export(artefact, network, shape, calibration)
                written[artefact.path] = None
            except InputError as error:
                written[artefact.path] = f'{artefact.name}: {error}'
                sentences.append(f'{artefact.name}: {error}')
        if written[artefact.path] is None:
            done.append(artefact)
    return done, sentences


def mark_all(verifications: Iterable[Verification]) -> None:
    """Mark the files of failed verifications, and take the mark off the others."""
    reasons: dict[Path, list[str]] = {}
    for verification in verifications:
        artefact = verification.artefact
        of_file = reasons.setdefault(artefact.path, [])
        of_file.extend(f'{artefact.name}: {reason}' for reason in verification.reasons)
    for path, found in reasons.items():
        mark(path, found)


def _export(
    artefact: Artefact, network: Network, shape: Sequence[int], calibration: Callable[[], list[np.ndarray]]
) -> None:
    precision = ENGINES[artefact.format].precisions[artefact.precision]
    options: dict[str, Any] = dict(precision.exporting)
    if precision.calibrated:
        options['calibration'] = calibration()
    if artefact.format == 'packed':
        if network.packed_config is None:
            raise InputError(
                'a packed file holds classifiers and backbones, not a backbone with its neck; use --part backbone'
            )
        options['config'] = network.packed_config
    write(network.model, artefact.format, shape, artefact.path, metadata=network.metadata, **options)
    unverified_marker(artefact.path).unlink(missing_ok=True)  # of the file that was here before
