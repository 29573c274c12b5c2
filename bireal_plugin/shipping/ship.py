"""From a trained network to verified files: the work of ``bireal export`` and ``bireal depth export``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import Session
from bireal_plugin.export.session_io import Precision
from bireal_plugin.models.classifier import BiRealClassifier
from bireal_plugin.shipping.artefacts import (
    export_all,
    export_table,
    mark_all,
    plan,
    present,
    refuse_existing,
    verification_table,
    written_before,
)
from bireal_plugin.shipping.classification import KEY
from bireal_plugin.shipping.images import Images, batches, images_of
from bireal_plugin.shipping.limits import USUAL, Artefact, Demands, Verification
from bireal_plugin.shipping.network import SIZE, Network
from bireal_plugin.shipping.verify import verify
from bireal_plugin.whole_file import remove_left

CALIBRATION_IMAGES = 128
CLASSIFIED_IMAGES, OTHER_IMAGES = 256, 8


@dataclass(frozen=True)
class Order:
    """Files to write, and the images to prove them on.

    Attributes:
        formats: names of engines. precisions: of real layers; every format takes those that it has.
        folder: for the files, made if it is missing. name: of the files, without suffix.
        batch: images per batch; engines with fixed shapes are written for it.
        calibrate: folder of images for int8; None takes the config's training data.
        verify: whether the files are run. verify_on: folder of images for that; None takes the config's test data.
        images: number to verify on; None takes 256 of a classifier, else 8.
        demands: beyond the usual limits.
        overwrite: replace files that are there. skip_existing: leave them alone. Otherwise they are refused.
        opset: of ONNX files; None takes the exporter's.
    """

    formats: Sequence[str]
    precisions: Sequence[str]
    folder: Path
    name: str
    batch: int = 1
    calibrate: Path | None = None
    verify: bool = False
    verify_on: Path | None = None
    images: int | None = None
    demands: Demands = USUAL
    overwrite: bool = False
    skip_existing: bool = False
    opset: int | None = None


class Shipment(NamedTuple):
    """Table of the files, a sentence for each problem, and the measurements of files that were verified."""

    table: str
    problems: list[str]
    verifications: Sequence[Verification] = ()


def ship(order: Order, load: Callable[[], Network]) -> Shipment:
    """Write the files of an order and, if it says so, verify them. Files that fail stay, with a mark beside them.

    Args:
        load: gives the network, once the order is known to be possible.

    Raises:
        InputError: a mistake in the order, a file that exists already, or images that cannot be had. A file that cannot
            be written or fails its verification is no error but a problem.
    """
    wanted = plan(order.formats, order.precisions, order.folder, order.name)
    if order.skip_existing:
        wanted = [artefact for artefact in wanted if not present(artefact)]
        if not wanted:
            return Shipment('all files are there already', [])
    elif not order.overwrite:
        refuse_existing(wanted)
    network = load()
    shape = (order.batch, network.channels, *network.size)

    def calibration() -> list[np.ndarray]:
        images = images_of(network, 'train', CALIBRATION_IMAGES, order.calibrate, option='--calibrate')
        return [batch.images for batch in batches(images.samples, network, shape)]

    proof = _proof(network, order.images, order.verify_on, '--verify') if order.verify else None
    order.folder.mkdir(parents=True, exist_ok=True)
    remove_left(order.folder)
    options = {} if order.opset is None else dict(onnx=dict(opset=order.opset))
    written, problems = export_all(wanted, network, shape, calibration, options)
    if not written or proof is None:
        return Shipment(export_table(written, shape) if written else '', problems)
    return _judged(_verified(written, network, shape, proof, order.demands), problems)


def check(
    files: Sequence[Path],
    precision: Precision,
    load: Callable[[], Network],
    *,
    others: Sequence[Path] = (),
    verify_on: Path | None = None,
    images: int | None = None,
    demands: Demands = USUAL,
) -> Shipment:
    """Verify files that were written before, as ``ship`` verifies its own; see ``Order`` for the arguments.

    Args:
        precision: of the files' real layers, where a file does not tell it itself.
        others: files of other networks, which are run on the same images in turn and not judged.

    Raises:
        InputError: a file is missing or of no engine, it has no such precision, another network's takes images that are
            made otherwise, or as ``ship``.
    """
    opened = [_opened(path, precision) for path in files]
    beside = [_opened(path, precision) for path in others]
    network = load()
    for artefact, _, prepared in beside:
        if prepared != network.metadata.get(KEY):
            raise InputError(f'{artefact.path} takes images that are made otherwise than those of this network')
    shapes: dict[tuple[int, ...], tuple[list[Artefact], list[Artefact]]] = {}
    for i, group in enumerate((opened, beside)):
        for artefact, told, _ in group:
            shape = told if len(told) == 4 else (1, network.channels, *(told or network.size))
            shapes.setdefault(shape, ([], []))[i].append(artefact)
    found: list[Verification] = []
    for shape, (artefacts, rest) in shapes.items():
        found += _verified(artefacts, network, shape, _proof(network, images, verify_on, '--on'), demands, rest)
    return _judged(found, [])


def _opened(path: Path, precision: Precision) -> tuple[Artefact, tuple[int, ...], str | None]:
    """The artefact in a file, the shape of its input (or height and width, or nothing), how its images are made."""
    with Session(path) as session:
        shape = tuple(size for size in session.input_shape if isinstance(size, int))
        metadata = session.metadata
    if len(shape) != 4:
        shape = tuple(json.loads(metadata.get(SIZE, '[]')))
    return written_before(path, precision, metadata), shape, metadata.get(KEY)


def _verified(
    artefacts: Sequence[Artefact],
    network: Network,
    shape: Sequence[int],
    proof: Images,
    demands: Demands,
    others: Sequence[Artefact] = (),
) -> list[Verification]:
    """Verify on images of a folder, or of the config's test data, whose accuracy training may have recorded."""
    if proof.population is not None:
        demands = replace(demands, population=proof.population, recorded=network.recorded_top1)
    found = verify(artefacts, network.model, batches(proof.samples, network, shape), demands, others=others)
    return [
        replace(row, input='x'.join(map(str, shape)), recorded=None if row.other else demands.recorded) for row in found
    ]


def _judged(found: list[Verification], problems: list[str]) -> Shipment:
    """Mark the files that failed, and tell all."""
    mark_all(found)
    wrong = [f'{row.artefact.name}: {reason}' for row in found for reason in row.reasons]
    return Shipment(verification_table(found), problems + wrong, found)


def _proof(network: Network, count: int | None, folder: Path | None, option: str) -> Images:
    """``count`` images to verify on, by default 256 of a classifier, else 8."""
    count = count or (CLASSIFIED_IMAGES if isinstance(network.model, BiRealClassifier) else OTHER_IMAGES)
    return images_of(network, 'test', count, folder, option=option)
