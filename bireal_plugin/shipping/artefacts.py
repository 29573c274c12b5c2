"""The files of an export: planned, refused if they would replace others, written, marked if wrong, told in a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import ENGINES, engine_of, files_of, megabytes, write
from bireal_plugin.export.packed.format import read_packed
from bireal_plugin.export.session_io import Precision
from bireal_plugin.shipping.limits import Artefact, Verification
from bireal_plugin.shipping.network import Network
from bireal_plugin.shipping.verify import mark, unverified_marker
from bireal_plugin.text_table import text_table

REAL_LAYERS = 'real_layers'  # in the metadata of a file of its own precision


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


def written_before(path: Path, precision: Precision, metadata: Mapping[str, str]) -> Artefact:
    """The artefact in a file.

    Args:
        precision: of its real layers, where the file does not tell it: packed files and those in int8 do.
        metadata: of the file.

    Raises:
        InputError: no engine has this suffix, or the engine has no such precision.
    """
    engine = engine_of(path)
    format = next(name for name, known in ENGINES.items() if known is engine)
    if format == 'packed':
        precision = cast(Precision, read_packed(path).real_layers)
    precision = cast(Precision, metadata.get(REAL_LAYERS, precision))
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
    options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> tuple[list[Artefact], list[str]]:
    """Write every artefact.

    Args:
        shape: ``(N, C, H, W)`` of the input. calibration: gives the batches for int8, when they are needed.
        options: of exporters, by format.

    Returns:
        The artefacts that were written, and a sentence for each that could not be.
    """
    failed: dict[Path, str] = {}
    first = {artefact.path: artefact for artefact in reversed(artefacts)}
    for path in dict.fromkeys(artefact.path for artefact in artefacts):
        try:
            _export(first[path], network, shape, calibration, options.get(first[path].format, {}))
        except InputError as error:
            failed[path] = f'{first[path].name}: {error}'
    return [artefact for artefact in artefacts if artefact.path not in failed], list(failed.values())


def _export(
    artefact: Artefact,
    network: Network,
    shape: Sequence[int],
    calibration: Callable[[], list[np.ndarray]],
    given: Mapping[str, Any],
) -> None:
    precision = ENGINES[artefact.format].precisions[artefact.precision]
    options: dict[str, Any] = {**precision.exporting, **given}
    metadata = network.metadata
    if precision.calibrated:
        options['calibration'] = calibration()
    if precision.own_file:
        metadata = {**metadata, REAL_LAYERS: artefact.precision}
    if artefact.format == 'packed':
        if network.packed_config is None:
            raise InputError(
                'a packed file holds classifiers and backbones, not a backbone with its neck; use --part backbone'
            )
        options['config'] = network.packed_config
    write(network.model, artefact.format, shape, artefact.path, metadata=metadata, **options)
    unverified_marker(artefact.path).unlink(missing_ok=True)  # of the file that was here before


def mark_all(verifications: Iterable[Verification]) -> None:
    """Mark the files of failed verifications, and take the mark off the rest; other networks' stay as they are."""
    reasons: dict[Path, list[str]] = defaultdict(list)
    for verification in verifications:
        if verification.other:
            continue
        name = verification.artefact.name
        reasons[verification.artefact.path] += [f'{name}: {reason}' for reason in verification.reasons]
    for path, found in reasons.items():
        mark(path, found)


LEFT = ('format', 'file', 'verdict')
LEGEND = (
    'layer error: largest error of a 1-bit layer, in units of its output; between: of the operations between 1-bit\n'
    'layers, in parts of their range (with int8 of 99.9 % of the values); flips: inputs of 1-bit layers with another\n'
    'sign; sure: agreement where the network gives a probability of 0.9 or more; ms: a batch on one thread;\n'
    'reference: top-1 accuracy of the network itself on these images; recorded: at the end of its training'
)


def export_table(artefacts: Sequence[Artefact], shape: Sequence[int]) -> str:
    """Format, file and size, and the shape of the input."""
    rest = {'input': 'x'.join(map(str, shape)), 'verdict': 'not verified'}
    return _table([{**_file(artefact), **rest} for artefact in artefacts])


def verification_table(verifications: Sequence[Verification]) -> str:
    """Format, file, size and all measurements."""
    rows = []
    for found in verifications:
        row = {**_file(found.artefact), 'input': found.input}
        layers = found.layers
        row['layer error'] = '' if layers is None else f'{layers.layer_error:.1e}'
        row['between'] = '' if layers is None else f'{found.between:.1e}'
        if found.agreement is not None:
            row['agreement'] = f'{found.agreement:.2%}'
        if found.sure_agreement is not None and found.top1 is None:
            row['sure'] = f'{found.sure_agreement:.2%}'
        if found.feature_error is not None and found.output_flips is not None:
            row['feature error'] = f'{found.feature_error:.1e}'
            row['output flips'] = f'{found.output_flips:.3%}'
        row['flips'] = '' if layers is None else f'{layers.flips / max(layers.signs, 1):.3%}'
        if found.top1 is not None:
            row['top-1'] = f'{found.top1:.2%}'
        if found.reference_top1 is not None:
            row['reference'] = f'{found.reference_top1:.2%}'
        if found.recorded is not None:
            row['recorded'] = f'{found.recorded:.2%}'
        row['ms'] = '' if found.milliseconds is None else f'{found.milliseconds:.2f}'
        verdict = 'another network' if found.other else 'verified'
        row['verdict'] = 'crashed' if found.crashed else verdict if found.passed else 'FAILED'
        rows.append(row)
    return f'{_table(rows)}\n\n{LEGEND}'


def _file(artefact: Artefact) -> dict[str, str]:
    return {'format': artefact.name, 'file': artefact.path.name, 'MB': f'{megabytes(artefact.path):.2f}'}


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    widest = max(rows, key=len)
    return text_table([{column: row.get(column, '') for column in widest} for row in rows], left=LEFT)
