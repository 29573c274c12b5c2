"""The proof of an artefact: it is run against the folded network on real images, and measured.

Three questions are asked. Does every layer compute the right numbers from the numbers that the engine had before it
(``compare.py``)? Does the file as it is shipped predict the same, or give the same features? How long does it take?
A flipped sign cascades, so the outputs of a whole network are never compared number by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.session_io import flat_outputs
from bireal_plugin.shipping.verify.limits import Artefact, Verification
from bireal_plugin.shipping.verify.trial import Batch, Trial

# Layers are compared on as many images as have about this many pixels together, at most 16 of them.
LAYER_PIXELS, LAYER_IMAGES = 8 * 224 * 224, 16


@torch.no_grad()
def verify(
    artefacts: Sequence[Artefact],
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    min_agreement: float | None = None,
    threads: int = 1,
) -> list[Verification]:
    """Run every artefact on the same batches as the folded network ``model``; one that cannot run has failed.

    Args:
        min_agreement: share of images with the reference's class, in place of the precision's own limit.
        threads: of every engine.

    Raises:
        InputError: there are no images.
    """
    trials = [Trial(artefact, threads) for artefact in artefacts]
    head: list[np.ndarray] = []
    complete = False
    images = None
    for batch in batches:
        images = batch.images
        wanted = [output.numpy() for output in flat_outputs(model(torch.from_numpy(images)))]
        for trial in trials:
            trial.run(batch, wanted)
        if not complete:
            head.append(images)
            complete = _enough(head)
    if images is None:
        raise InputError('there are no images to verify on')
    for trial in trials:
        trial.repeat(images)
        trial.look_inside(model, head)
    return [trial.result(min_agreement) for trial in trials]


def mark(path: Path, reasons: Sequence[str]) -> Path | None:
    """Write the reasons into ``<path>.unverified`` and return that, or remove it if there are none."""
    marker = unverified_marker(path)
    if not reasons:
        marker.unlink(missing_ok=True)
        return None
    marker.write_text(''.join(f'{reason}\n' for reason in reasons))
    return marker


def unverified_marker(path: Path) -> Path:
    """The file beside an artefact that says why it is not to be trusted."""
    return path.with_name(f'{path.name}.unverified')


def _enough(head: Sequence[np.ndarray]) -> bool:
    count = sum(len(images) for images in head)
    pixels = count * head[0].shape[2] * head[0].shape[3]
    return count >= LAYER_IMAGES or pixels >= LAYER_PIXELS
