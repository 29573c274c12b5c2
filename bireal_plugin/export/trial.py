"""One artefact while it is measured, and the limits by which it is judged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.layers import LayerComparison, compare_layers, fused_error
from bireal_plugin.export.session import ENGINES, RunningSession, Session
from bireal_plugin.export.taps import inputs_apart, tapped_session

# A 1-bit layer is exact but for the rounding of its affine map; one wrong weight is a per cent of the range or more.
LAYER_LIMIT = 1e-3
# What lies between 1-bit layers, by the precision of real layers: rounding adds up over a few operations.
REAL_LIMIT = {'f32': 1e-3, 'f16': 1e-2, 'bf16': 2e-2, 'int8': 0.1}
# Engines that fuse operators. They run again with only every third layer read, since reading a tensor keeps it from
# being fused; the layers between may flip signs, hence a limit on |a - b| / |b|. (OpenVINO 2026.4 computes convolution
# + addition + sign wrongly when it fuses all three, as it did at the end of a bottleneck network.)
FUSING, APART = ('.xml', '.onnx'), 3
FUSED_LIMIT = {'f32': 0.05, 'bf16': 0.5, 'int8': 0.7}
# Share of images with the same class as the reference's.
AGREEMENT_LIMIT = {'f32': 0.995, 'f16': 0.99, 'bf16': 0.95, 'int8': 0.95}
# Features of a whole network, |a - b| / |b|: flipped signs add up; another network's are about 1.4 away.
FEATURE_LIMIT = {'f32': 0.5, 'f16': 0.7, 'bf16': 0.9, 'int8': 0.9}
TIMED = 5  # at least, after one warm-up


@dataclass(frozen=True)
class Batch:
    """Normalised images ``(N, C, H, W)`` float32, the first ``count`` of which are new, and their labels if known."""

    images: np.ndarray
    count: int
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class Artefact:
    """An exported file and how it is run."""

    path: Path
    format: str
    real_layers: str = 'f32'

    @property
    def name(self) -> str:
        """The format, with the precision of real layers unless that is float32."""
        return self.format if self.real_layers == 'f32' else f'{self.format} {self.real_layers}'


@dataclass(frozen=True)
class Verification:
    """What was measured, and why it is not good enough (``reasons``, empty if it is).

    Attributes:
        layers: layer by layer, None where that failed.
        fused_error: largest ``|a - b| / |b|`` behind layers as the engine fuses them, None where engines do not.
        agreement: share of images whose class is the reference's; None for feature maps.
        feature_error: ``|a - b| / |b|`` of the worst output. output_flips: share of outputs with another sign.
            Both are None for classifiers.
        top1, reference_top1: share of right classes, where labels are known.
        milliseconds: median of a batch on one thread.
    """

    artefact: Artefact
    layers: LayerComparison | None
    fused_error: float | None
    agreement: float | None
    feature_error: float | None
    output_flips: float | None
    top1: float | None
    reference_top1: float | None
    milliseconds: float | None
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Nothing was found wrong."""
        return not self.reasons


class Trial:
    """One artefact while it is measured."""

    def __init__(self, artefact: Artefact, threads: int) -> None:
        self.artefact = artefact
        self.options = {'threads': threads, **ENGINES[artefact.format].real_layers[artefact.real_layers][1]}
        self.reasons: list[str] = []
        self.session: RunningSession | None = None
        self.seconds: list[float] = []
        self.images = self.agreeing = self.right = self.reference_right = self.labelled = 0
        self.squares: list[np.ndarray] = []  # per batch (outputs, 2): of the difference, of the reference
        self.values = self.flipped = 0
        self.layers: LayerComparison | None = None
        self.fused_error: float | None = None
        try:
            self.session = Session(artefact.path, **self.options)
        except InputError as error:
            self.reasons.append(str(error))

    def run(self, batch: Batch, wanted: Sequence[np.ndarray]) -> None:
        """Count how the outputs on a batch compare with the reference's."""
        if self.reasons:
            return
        try:
            outputs = self._timed(batch.images)
        except InputError as error:
            self.reasons.append(str(error))
            return
        self.reasons.extend(_shape_mistakes(outputs, wanted))
        if self.reasons:
            return
        if len(wanted) == 1 and wanted[0].ndim == 2:
            classes, right = (array[0][: batch.count].argmax(1) for array in (outputs, wanted))
            self._count_classes(classes, right, batch.labels)
        else:
            pairs = list(zip(outputs, wanted, strict=True))
            self.squares.append(np.array([(np.square(a - b).sum(), np.square(b).sum()) for a, b in pairs]))
            self.values += sum(b.size for _, b in pairs)
            self.flipped += sum(int(((a >= 0) != (b >= 0)).sum()) for a, b in pairs)

    def repeat(self, images: np.ndarray) -> None:
        """Run some more where the images were too few for a median."""
        while not self.reasons and len(self.seconds) <= TIMED:
            self._timed(images)

    def look_inside(self, model: nn.Module, head: Sequence[np.ndarray]) -> None:
        """Compare layer by layer."""
        if self.reasons:
            return
        try:
            self.layers = compare_layers(model, head, tapped_session(self.artefact.path, **self.options))
            if self.artefact.path.suffix in FUSING:
                self.fused_error = max(self._fused(model, head, self.layers.order, start) for start in range(APART))
        except InputError as error:
            self.reasons.append(str(error))

    def _fused(self, model: nn.Module, head: Sequence[np.ndarray], order: Sequence[int], start: int) -> float:
        places = {call: place // APART for call, place in enumerate(order) if place % APART == start}
        choice = partial(inputs_apart, start=start, step=APART)
        session = tapped_session(self.artefact.path, choice, **self.options)
        return fused_error(model, head, session, places=places)

    def result(self, min_agreement: float | None) -> Verification:
        """The measurements, judged."""
        agreement = self.agreeing / self.images if self.images else None
        feature_error = None
        if self.squares:
            difference, reference = np.sum(self.squares, axis=0).T
            feature_error = float(np.sqrt(difference / np.maximum(reference, np.finfo(np.float32).tiny)).max())
        reasons = [*self.reasons, *self._judge(agreement, feature_error, min_agreement)]
        return Verification(
            artefact=self.artefact,
            layers=self.layers,
            fused_error=self.fused_error,
            agreement=agreement,
            feature_error=feature_error,
            output_flips=self.flipped / self.values if self.values else None,
            top1=self.right / self.labelled if self.labelled else None,
            reference_top1=self.reference_right / self.labelled if self.labelled else None,
            milliseconds=1000 * float(np.median(self.seconds[1:])) if len(self.seconds) > 1 else None,
            reasons=tuple(reasons),
        )

    def _judge(self, agreement: float | None, feature_error: float | None, min_agreement: float | None) -> list[str]:
        # Written so that a NaN fails.
        reasons = []
        if self.layers is not None:
            if not self.layers.layer_share <= LAYER_LIMIT:
                reasons.append(
                    f"a 1-bit layer is wrong by {self.layers.layer_share:.2g} of its output's range "
                    f'({LAYER_LIMIT:g} is allowed)'
                )
            limit = REAL_LIMIT[self.artefact.real_layers]
            if not self.layers.real_share <= limit:
                reasons.append(
                    f'what lies between 1-bit layers is wrong by {self.layers.real_share:.2g} of its range '
                    f'({limit:g} is allowed with real layers {self.artefact.real_layers})'
                )
        if self.fused_error is not None:
            limit = FUSED_LIMIT[self.artefact.real_layers]
            if not self.fused_error <= limit:
                reasons.append(
                    f'layers that are right one by one are wrong as the engine fuses them, by {self.fused_error:.2g} '
                    f'of their size ({limit:g} is allowed)'
                )
        limit = AGREEMENT_LIMIT[self.artefact.real_layers] if min_agreement is None else min_agreement
        if agreement is not None and not agreement >= limit:
            reasons.append(
                f'{agreement:.2%} of {self.images} images have the class of the reference ({limit:.2%} must)'
            )
        limit = FEATURE_LIMIT[self.artefact.real_layers]
        if feature_error is not None and not feature_error <= limit:
            reasons.append(f'features are wrong by {feature_error:.2g} of their size ({limit:g} is allowed)')
        return reasons

    def _timed(self, images: np.ndarray) -> list[np.ndarray]:
        assert self.session is not None
        start = time.perf_counter()
        outputs = self.session(images)
        self.seconds.append(time.perf_counter() - start)
        return outputs

    def _count_classes(self, classes: np.ndarray, wanted: np.ndarray, labels: np.ndarray | None) -> None:
        self.images += len(classes)
        self.agreeing += int((classes == wanted).sum())
        if labels is not None:
            self.labelled += len(labels)
            self.right += int((classes == labels).sum())
            self.reference_right += int((wanted == labels).sum())


def _shape_mistakes(outputs: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> list[str]:
    shapes, right = ([tuple(array.shape) for array in arrays] for arrays in (outputs, wanted))
    if shapes != right:
        return [f'the outputs have the shapes {shapes} instead of {right}']
    if not all(np.isfinite(output).all() for output in outputs):
        return ['an output is NaN or infinite']
    return []
