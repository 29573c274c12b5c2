"""Results of a verification, and the limits by which they are judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bireal_plugin.export.session_io import Precision
from bireal_plugin.shipping.compare import LayerComparison

# A 1-bit layer is exact but for the rounding of its affine map; one wrong weight is a per cent of the range or more.
LAYER_LIMIT = 1e-3
# Operations between 1-bit layers, by the precision of real layers: rounding adds up over a few of them.
REAL_LIMIT = {'f32': 1e-3, 'f16': 1e-2, 'bf16': 2e-2, 'int8': 0.1}
# |a - b| / |b| where layers are fused; those between two that are read may flip signs.
FUSED = 'layers that are right one by one are wrong as the engine fuses them,'
FUSED_LIMIT = {'f32': 0.05, 'bf16': 0.5, 'int8': 0.7}
# Share of images with the same class as the reference's.
AGREEMENT_LIMIT = {'f32': 0.995, 'f16': 0.99, 'bf16': 0.95, 'int8': 0.95}
# Features of a whole network, |a - b| / |b|: flipped signs add up; another network's are about 1.4 away.
FEATURE_LIMIT = {'f32': 0.5, 'f16': 0.7, 'bf16': 0.9, 'int8': 0.9}


@dataclass(frozen=True)
class Artefact:
    """An exported file and the precision that its real layers run in."""

    path: Path
    format: str
    precision: Precision = 'f32'

    @property
    def name(self) -> str:
        """The format, with the precision of real layers unless that is float32."""
        return self.format if self.precision == 'f32' else f'{self.format} {self.precision}'


@dataclass(frozen=True)
class Verification:
    """Measurements of an artefact, and the reasons for which it is refused (none if it is right).

    Attributes:
        layers: layer by layer, None where that failed.
        fused_error: largest ``|a - b| / |b|`` behind layers as the engine fuses them, None where it fuses none.
        images: number whose classes were compared.
        agreement: share of images whose class is the reference's; None for feature maps.
        top1, reference_top1: share of right classes, where labels are known.
        feature_error: ``|a - b| / |b|`` of the worst output. output_flips: share of outputs with another sign.
            Both are None for classifiers.
        milliseconds: median of a batch on one thread.
        crashed: the process of the engine has ended.
    """

    artefact: Artefact
    layers: LayerComparison | None
    fused_error: float | None
    images: int = 0
    agreement: float | None = None
    top1: float | None = None
    reference_top1: float | None = None
    feature_error: float | None = None
    output_flips: float | None = None
    milliseconds: float | None = None
    reasons: tuple[str, ...] = ()
    crashed: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.reasons


def mistakes(found: Verification, *, min_agreement: float | None) -> list[str]:
    """Sentences on the measurements that exceed their limit; NaN exceeds every limit."""
    precision, layers = found.artefact.precision, found.layers
    layer, between = (None, None) if layers is None else (layers.layer_share, layers.real_share)
    real = f' with real layers in {precision}'
    reasons = [
        f'{what} by {value:.2g} of {whole} ({limit:g} is allowed{condition})'
        for value, limit, what, whole, condition in (
            (layer, LAYER_LIMIT, 'a 1-bit layer is wrong', "its output's range", ''),
            (between, REAL_LIMIT[precision], 'the operations between 1-bit layers are wrong', 'their range', real),
            (found.fused_error, FUSED_LIMIT.get(precision), FUSED, 'their size', ''),
            (found.feature_error, FEATURE_LIMIT[precision], 'features are wrong', 'their size', ''),
        )
        if value is not None and not value <= limit
    ]
    least = AGREEMENT_LIMIT[precision] if min_agreement is None else min_agreement
    if found.agreement is not None and not found.agreement >= least:
        equal = f'{found.agreement:.2%} of {found.images} images have the class of the reference'
        reasons.append(f'{equal} ({least:.2%} must)')
    return reasons
