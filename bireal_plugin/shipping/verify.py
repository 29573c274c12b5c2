"""The proof of an artefact: it is run against the folded network on real images, and measured.

Three questions are asked. Does every layer compute the right numbers from the numbers that the engine had before it
(``compare.py``)? Does the file as it is shipped predict the same, or give the same features? How long does it take?
``limits.py`` judges. A flipped sign cascades, so the outputs of a whole network are never compared number by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.child import CrashError
from bireal_plugin.export.engines import ENGINES
from bireal_plugin.export.session_io import ChildSession, flat_outputs, tapped_child
from bireal_plugin.shipping.compare import LayerComparison, both_sides, compare_layers, fused_error, inputs_apart
from bireal_plugin.shipping.limits import SURE, USUAL, Artefact, Demands, Verification, mistakes
from bireal_plugin.whole_file import write_whole

# Engines that fuse operators run again with only every third layer read, since reading a tensor keeps it from being
# fused. (OpenVINO 2026.4 computes convolution + addition + sign wrongly when it fuses all three, as it did at the end
# of a bottleneck network.)
APART = 3
TIMED = 5  # runs at least, after one warm-up


@dataclass(frozen=True)
class Batch:
    """Normalised images ``(N, C, H, W)`` float32, the first ``count`` of which are new, and their labels if known."""

    images: np.ndarray
    count: int
    labels: np.ndarray | None = None


class Trial:
    """Measurements of one artefact: ``run`` on every batch, ``repeat``, ``look_inside``, then ``result``.

    An artefact that cannot be read or run, or crashes its engine's process, gets a reason, and is left alone then. One
    of another network (``other``) has no reference: its accuracy and its time are measured.
    """

    def __init__(self, artefact: Artefact, threads: int, *, other: bool = False) -> None:
        self.artefact, self.other = artefact, other
        self.engine = ENGINES[artefact.format]
        self.options = {'threads': threads, **self.engine.precisions[artefact.precision].running}
        self.reasons: list[str] = []
        self.session: ChildSession | None = None
        self.crashed = False
        self.seconds: list[float] = []
        self.classes: list[np.ndarray] = []  # per batch (4, images): found, the reference's, the label or -1, sure
        self.features: list[np.ndarray] = []  # per batch (outputs, 4): sums of (a - b)^2, b^2, other signs, values
        self.layers: LayerComparison | None = None
        self.fused_error: float | None = None
        with self._mistakes():
            self.session = ChildSession(self.engine.session, artefact.path, **self.options)

    @contextmanager
    def _mistakes(self) -> Iterator[None]:
        """Takes the sentence of an InputError as a reason, and ends the block."""
        try:
            yield
        except InputError as error:
            self.reasons.append(str(error))
            self.crashed = isinstance(error, CrashError)

    def run(self, batch: Batch, wanted: Sequence[np.ndarray]) -> None:
        """Run on a batch, and count differences from the reference's outputs ``wanted``."""
        if self.reasons:
            return
        with self._mistakes():
            outputs = self._timed(batch.images)
            shapes, right = ([array.shape for array in arrays] for arrays in (outputs, wanted))
            if shapes != right:
                raise InputError(f'the outputs have the shapes {shapes} instead of {right}')
            if not all(np.isfinite(output).all() for output in outputs):
                raise InputError('an output is NaN or infinite')
            if (
                len(wanted) == 1 and wanted[0].ndim == 2 and wanted[0].shape[1] > 1
            ):  # one column is no choice of classes
                found, expected = (arrays[0][: batch.count].argmax(1) for arrays in (outputs, wanted))
                labels = np.full(batch.count, -1) if batch.labels is None else batch.labels
                sure = probability(wanted[0][: batch.count]) >= SURE
                self.classes.append(np.stack([found, expected, labels, sure]))
            else:
                pairs = [(a, b, (a >= 0) != (b >= 0)) for a, b in zip(outputs, wanted, strict=True)]
                sums = [(np.square(a - b).sum(), np.square(b).sum(), flips.sum(), b.size) for a, b, flips in pairs]
                self.features.append(np.array(sums))

    def repeat(self, images: np.ndarray) -> None:
        """Run again where the images were too few for a median of the time."""
        while not self.reasons and len(self.seconds) <= TIMED:
            with self._mistakes():
                self._timed(images)

    def look_inside(self, model: nn.Module, head: Sequence[np.ndarray]) -> None:
        """Compare layer by layer on the batches ``head``, and end the session."""
        if self.session is not None:
            self.session.close()
        if self.reasons or self.other:
            return
        with self._mistakes():
            inside = tapped_child(self.engine.session, self.artefact.path, both_sides, **self.options)
            self.layers = compare_layers(model, head, inside)
            if self.engine.fuses:
                self.fused_error = max(self._fused(model, head, self.layers.order, start) for start in range(APART))

    def _fused(self, model: nn.Module, head: Sequence[np.ndarray], order: Sequence[int], start: int) -> float:
        places = {call: place // APART for call, place in enumerate(order) if place % APART == start}
        choice = partial(inputs_apart, start=start, step=APART)
        session = tapped_child(self.engine.session, self.artefact.path, choice, **self.options)
        return fused_error(model, head, session, places=places)

    def result(self, demands: Demands) -> Verification:
        """The measurements, judged."""
        found = Verification(self.artefact, self.layers, self.fused_error, crashed=self.crashed, other=self.other)
        if self.classes:
            classes, expected, labels, sure = np.concatenate(self.classes, axis=1)
            found = replace(found, images=len(classes), agreement=float(np.mean(classes == expected)))
            if sure.any():
                share = float(np.mean((classes == expected)[sure == 1]))
                found = replace(found, sure_images=int(sure.sum()), sure_agreement=share)
            if (labels >= 0).all():
                right, reference = classes == labels, expected == labels
                error = float(np.std(reference.astype(int) - right)) / len(labels) ** 0.5
                found = replace(found, top1=right.mean(), reference_top1=reference.mean(), loss_error=error)
        if self.features:
            difference, size, flips, values = np.sum(self.features, axis=0).T
            error = float(np.sqrt(difference / np.maximum(size, np.finfo(np.float32).tiny)).max())
            found = replace(found, feature_error=error, output_flips=float(flips.sum() / values.sum()))
        if len(self.seconds) > 1:
            found = replace(found, milliseconds=1000 * float(np.median(self.seconds[1:])))
        if self.other:
            found = replace(found, agreement=None, sure_agreement=None, reference_top1=None, feature_error=None)
            return replace(found, reasons=tuple(self.reasons))
        return replace(found, reasons=(*self.reasons, *mistakes(found, demands)))

    def _timed(self, images: np.ndarray) -> list[np.ndarray]:
        assert self.session is not None
        outputs = self.session(images)
        self.seconds.append(self.session.seconds)
        return outputs


def probability(logits: np.ndarray) -> np.ndarray:
    """The largest probability ``(N,)`` that logits ``(N, classes)`` stand for."""
    return 1 / np.exp(logits - logits.max(1, keepdims=True)).sum(1)


# Layers are compared on as many images as have about this many pixels together, at most 16 of them.
LAYER_PIXELS, LAYER_IMAGES = 8 * 224 * 224, 16


@torch.no_grad()
def verify(
    artefacts: Sequence[Artefact],
    model: nn.Module,
    batches: Iterable[Batch],
    demands: Demands = USUAL,
    *,
    others: Sequence[Artefact] = (),
    threads: int = 1,
) -> list[Verification]:
    """Run every artefact on the same batches as the folded network ``model``; one that cannot run has failed.

    Args:
        others: artefacts of other networks, which take their turns on the same batches and are not judged.
        threads: of every engine.

    Raises:
        InputError: there are no images.
    """
    trials = [Trial(artefact, threads) for artefact in artefacts]
    trials += [Trial(artefact, threads, other=True) for artefact in others]
    head: list[np.ndarray] = []
    images = None
    for batch in batches:
        images = batch.images
        wanted = [output.numpy() for output in flat_outputs(model(torch.from_numpy(images)))]
        for trial in trials:
            trial.run(batch, wanted)
        if sum(map(len, head)) < LAYER_IMAGES and sum(map(np.size, head)) < LAYER_PIXELS * images.shape[1]:
            head.append(images)
    if images is None:
        raise InputError('there are no images to verify on')
    for trial in trials:
        trial.repeat(images)
        trial.look_inside(model, head)
    return [trial.result(demands) for trial in trials]


def mark(path: Path, reasons: Sequence[str]) -> Path | None:
    """Write the reasons into ``<path>.unverified`` and return that, or remove it if there are none."""
    marker = unverified_marker(path)
    if not reasons:
        marker.unlink(missing_ok=True)
        return None
    write_whole(marker, ''.join(f'{reason}\n' for reason in reasons))
    return marker


def unverified_marker(path: Path) -> Path:
    """The file beside an artefact that says why it is not to be trusted."""
    return path.with_name(f'{path.name}.unverified')
