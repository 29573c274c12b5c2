"""Results of a verification, and the limits by which they are judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bireal_plugin.errors import InputError
from bireal_plugin.export.session_io import Precision
from bireal_plugin.shipping.compare import LayerComparison

# A 1-bit layer is exact but for the rounding of its affine map, in bf16 by 0.2 % of a number; one wrong weight is a per
# cent of the range or more.
LAYER_LIMIT = {'f32': 1e-3, 'f16': 1e-3, 'bf16': 5e-3, 'int8': 1e-3}
# Operations between 1-bit layers, by the precision of real layers: rounding adds up over a few of them. Of int8, 99.9 %
# of the values are judged (0.011 on Imagenette, 0.034 of a network of 4 channels).
REAL_LIMIT = {'f32': 1e-3, 'f16': 1e-2, 'bf16': 2e-2, 'int8': 0.06}
# |a - b| / |b| where layers are fused; those between two that are read may flip signs.
FUSED = 'layers that are right one by one are wrong as the engine fuses them,'
FUSED_LIMIT = {'f32': 0.05, 'bf16': 0.5, 'int8': 0.7}
# Points of top-1 accuracy that may be lost, where labels are known.
LOSS_LIMIT = {'f32': 0.5, 'f16': 0.5, 'bf16': 0.5, 'int8': 1.5}
# Points by which the network itself may be below the accuracy that training recorded.
RECORDED_LIMIT = 0.5
EPSILON = 1e-9  # of the arithmetic
# Share of images with the same class as the reference's, where no labels are known: in float32 of all, else of those to
# which the reference gives a probability of SURE or more, if there are any. Others change among classes that are nearly
# as probable: with f16, bf16 and int8 the networks of Imagenette and Fashion-MNIST keep 88 to 92 % of all classes,
# their accuracy, and every class that they are sure of.
SURE = 0.9
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
        agreement: share of images whose class is the reference's; None for feature maps. sure_images: number of those
            that the reference is sure of. sure_agreement: share among them; None where there are none.
        top1, reference_top1: share of right classes, where labels are known. loss_error: standard error of their
            difference, for other images drawn like these.
        feature_error: ``|a - b| / |b|`` of the worst output. output_flips: share of outputs with another sign.
            Both are None for classifiers.
        milliseconds: median of a batch on one thread.
        crashed: the process of the engine has ended.
        input: shape of a batch. recorded: top-1 accuracy that training measured, where it is known.
        other: of another network than the reference, run on the same images and not judged.
    """

    artefact: Artefact
    layers: LayerComparison | None
    fused_error: float | None
    images: int = 0
    agreement: float | None = None
    sure_images: int = 0
    sure_agreement: float | None = None
    top1: float | None = None
    reference_top1: float | None = None
    loss_error: float = 0.0
    feature_error: float | None = None
    output_flips: float | None = None
    milliseconds: float | None = None
    input: str = ''
    recorded: float | None = None
    reasons: tuple[str, ...] = ()
    crashed: bool = False
    other: bool = False

    @property
    def between(self) -> float | None:
        """Error of the operations between 1-bit layers, in parts of their range; with int8 of 99.9 % of the values."""
        if self.layers is None:
            return None
        return self.layers.usual_share if self.artefact.precision == 'int8' else self.layers.real_share

    @property
    def passed(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.reasons


@dataclass(frozen=True)
class Demands:
    """Demands on artefacts beyond the limits above.

    Attributes:
        min_agreement: share of images with the reference's class, with labels or without; None for the default.
        max_loss: points of top-1 accuracy that may be lost; None for the precision's default.
        recorded: top-1 accuracy, 0 to 1, that training measured on all images; None where it is not known.
        population: number of these images; None where those that were run are all that there are.

    Raises:
        InputError: a share beyond 0 to 1, or points beyond 0 to 100.
    """

    min_agreement: float | None = None
    max_loss: float | None = None
    recorded: float | None = None
    population: int | None = None

    def __post_init__(self) -> None:
        for option, value, largest in (('min-agreement', self.min_agreement, 1), ('max-loss', self.max_loss, 100)):
            if value is not None and not 0 <= value <= largest:
                raise InputError(f'--{option} is a number from 0 to {largest}, not {value:g}')


USUAL = Demands()


def mistakes(found: Verification, demands: Demands) -> list[str]:
    """Sentences on the measurements that exceed their limit; NaN exceeds every limit.

    A part of the images may show twice its sampling error beyond the limit of an accuracy; all of them may not.
    """
    precision, between = found.artefact.precision, found.between
    layer = None if found.layers is None else found.layers.layer_share
    real = f' with real layers in {precision}'
    reasons = [
        f'{what} by {value:.2g} of {whole} ({limit:g} is allowed{condition})'
        for value, limit, what, whole, condition in (
            (layer, LAYER_LIMIT[precision], 'a 1-bit layer is wrong', "its output's range", ''),
            (between, REAL_LIMIT[precision], 'the operations between 1-bit layers are wrong', 'their range', real),
            (found.fused_error, FUSED_LIMIT.get(precision), FUSED, 'their size', ''),
            (found.feature_error, FEATURE_LIMIT[precision], 'features are wrong', 'their size', ''),
        )
        if value is not None and limit is not None and not value <= limit
    ]
    least, share, images = demands.min_agreement, found.agreement, f'{found.images} images'
    if least is None and found.top1 is None:
        least = AGREEMENT_LIMIT[precision]
        if found.sure_agreement is not None and precision != 'f32':
            share, images = found.sure_agreement, f'the {found.sure_images} images that the network is sure of'
    if share is not None and least is not None and not share >= least:
        reasons.append(f'{share:.2%} of {images} have the class of the reference ({least:.2%} must)')
    if found.top1 is not None and found.reference_top1 is not None:
        left_out = 1 - found.images / max(demands.population or 0, found.images)
        limit = LOSS_LIMIT[precision] if demands.max_loss is None else demands.max_loss
        error = 100 * found.loss_error * left_out**0.5
        loss = 100 * (found.reference_top1 - found.top1)
        if not loss <= limit + 2 * error + EPSILON:
            reasons.append(
                f'top-1 accuracy on {found.images} images is {found.top1:.2%}, and the network has '
                f'{found.reference_top1:.2%}: {_points(limit, error)} may be lost{real}'
            )
        if demands.recorded is not None:
            error = 100 * (demands.recorded * (1 - demands.recorded) / found.images * left_out) ** 0.5
            if not 100 * (demands.recorded - found.reference_top1) <= RECORDED_LIMIT + 2 * error + EPSILON:
                reasons.append(
                    f'the network itself has {found.reference_top1:.2%} on {found.images} images, and training '
                    f'recorded {demands.recorded:.2%} ({_points(RECORDED_LIMIT, error)} less are allowed): these are '
                    'other images, or another size of them, than it was trained with'
                )
    if found.images or found.feature_error is not None:  # it ran
        if found.agreement is None and demands.min_agreement is not None:
            reasons.append('it gives no classes that --min-agreement could be judged by; leave that out')
        if found.top1 is None and demands.max_loss is not None:
            reasons.append('there are no labels that --max-loss could be judged by; give --min-agreement instead')
    return reasons


def _points(limit: float, error: float) -> str:
    return f'{limit:g} points' + (f' and {2 * error:.2f} of sampling error' if error else '')
