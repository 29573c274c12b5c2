"""The table at the end of an export: one row per artefact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bireal_plugin.export.engines import megabytes
from bireal_plugin.shipping.verify.limits import Artefact, Verification
from bireal_plugin.text_table import text_table

LEFT = ('format', 'file', 'verdict')
LEGEND = (
    'layer error: largest error of a 1-bit layer, in units of its output; between: of the operations between 1-bit\n'
    'layers, in parts of their range; flips: inputs of 1-bit layers with another sign; ms: a batch on one thread'
)


def export_table(artefacts: Sequence[Artefact]) -> str:
    """Format, file and size."""
    return _table([{**_file(artefact), 'verdict': 'not verified'} for artefact in artefacts])


def verification_table(verifications: Sequence[Verification]) -> str:
    """Format, file, size and all measurements."""
    rows = []
    for found in verifications:
        row = _file(found.artefact)
        layers = found.layers
        row['layer error'] = '' if layers is None else f'{layers.layer_error:.1e}'
        row['between'] = '' if layers is None else f'{layers.real_share:.1e}'
        if found.agreement is not None:
            row['agreement'] = f'{found.agreement:.2%}'
        if found.feature_error is not None and found.output_flips is not None:
            row['feature error'] = f'{found.feature_error:.1e}'
            row['output flips'] = f'{found.output_flips:.3%}'
        row['flips'] = '' if layers is None else f'{layers.flips / max(layers.signs, 1):.3%}'
        if found.top1 is not None and found.reference_top1 is not None:
            row['top-1'] = f'{found.top1:.2%}'
            row['reference'] = f'{found.reference_top1:.2%}'
        row['ms'] = '' if found.milliseconds is None else f'{found.milliseconds:.2f}'
        row['verdict'] = 'verified' if found.passed else 'FAILED'
        rows.append(row)
    return f'{_table(rows)}\n\n{LEGEND}'


def _file(artefact: Artefact) -> dict[str, str]:
    return {'format': artefact.name, 'file': artefact.path.name, 'MB': f'{megabytes(artefact.path):.2f}'}


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    widest = max(rows, key=len)
    return text_table([{column: row.get(column, '') for column in widest} for row in rows], left=LEFT)
