"""Answers of the page: classes of a photograph, and its depth as a picture, as numbers, as points and as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bireal_plugin.data.image_file import focal_length, read_rgb
from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.inference.outputs import MAX_DEPTH, Estimate, Style, back_projected, depth_of, picture, save
from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import ENGINES, Session
from bireal_plugin.models.classifier import BiRealClassifier
from bireal_plugin.shipping.classification import KEY, Classifier, Preparation, class_names
from bireal_plugin.shipping.network import taken_size
from bireal_plugin.training.trained import load_trained
from bireal_plugin.zoo import local_file

STYLE = Style()
MOST_POINTS = 20_000  # that a browser turns smoothly


@dataclass(frozen=True)
class Networks:
    """Networks of the page, one of a kind at most."""

    classifier: Classifier | None = None
    predictor: Predictor | None = None

    @classmethod
    def of_files(cls, files: Sequence[str | Path], *, threads: int | None = None) -> Networks:
        """Networks in exported files, checkpoints or addresses of the zoo; what each is for stands in it.

        Raises:
            InputError: a file is neither, two are of one kind, or there is none.
        """
        found: dict[str, Classifier | Predictor] = {}
        for file in files:
            network = _network(local_file(file), threads)
            kind = 'classifier' if isinstance(network, Classifier) else 'predictor'
            if kind in found:
                raise InputError(f'{found[kind].source} and {file} are of one kind; the page shows one of each')
            found[kind] = network
        if not found:
            raise InputError('the page needs a network: give an exported file or a checkpoint')
        return cls(**found)  # type: ignore[arg-type]


def _network(file: Path, threads: int | None) -> Classifier | Predictor:
    if any(file.suffix == engine.suffix for engine in ENGINES.values()):
        session = Session(file, threads=threads)
        classifies = KEY in session.metadata
        return Classifier.of_session(session, str(file)) if classifies else Predictor(file, threads=threads)
    model, config = load_trained(None, file)
    if not isinstance(model, BiRealClassifier):
        return Predictor(file, threads=threads)
    preparation = Preparation.of_config(config, model, taken_size(None, None, config, file)[0], class_names(file))
    return Classifier.of_model(model, preparation, str(file), threads)


def classes(classifier: Classifier, photo: Path) -> dict[str, float]:
    """Probability by name of the five most probable classes, best first."""
    return {guess.name or f'class {guess.index}': guess.probability for guess in classifier(photo)}


def estimate(predictor: Predictor, photo: Path, focal: float | None) -> Estimate:
    """Depth of a photograph: in m if its focal length in px is given, or relative.

    Raises:
        InputError: the photograph cannot be read, the focal length is none, or metres need a baseline that the
            network's file does not say.
    """
    image = np.asarray(read_rgb(photo))
    disparity, width = predictor(image), image.shape[1]
    camera = None
    if focal:
        camera = Camera(focal, width, predictor.baseline, source='the focal length that was given')
    return Estimate(image, depth_of(disparity, camera), camera)


def suggested_focal(photo: Path) -> float | None:
    """Focal length in px that the photograph itself tells; None where it does not."""
    told = focal_length(photo)
    return None if told is None else round(told, 1)


def measured(estimate: Estimate, column: int, row: int) -> str:
    """A sentence about one pixel."""
    height, width = estimate.depth.shape
    if not (0 <= column < width and 0 <= row < height):
        return 'that is beside the photograph'
    depth = float(estimate.depth[row, column])
    if not np.isfinite(depth):
        return f'column {column}, row {row}: no depth'
    return f'column {column}, row {row}: **{depth:.2f} {estimate.unit}**'


def points(estimate: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """Points ``(N, 3)`` in m and their colours RGB uint8 ``(N, 3)``, evenly thinned out to ``MOST_POINTS``.

    Raises:
        InputError: no camera is known, so that there are no metres.
    """
    if estimate.camera is None:
        raise InputError('a point cloud needs the focal length')
    kept = np.flatnonzero((estimate.depth > 0) & (estimate.depth <= MAX_DEPTH))
    kept = kept[:: max(1, -(-len(kept) // MOST_POINTS))]
    cloud = back_projected(estimate.depth, estimate.camera).reshape(-1, 3)
    return cloud[kept], estimate.image.reshape(-1, 3)[kept]


def files(estimate: Estimate, folder: Path) -> list[Path]:
    """Write depth as ``depth.png`` (16 bit, m x 256) and ``depth.npy``, with a camera as ``points.ply`` too."""
    forms = dict(png16='depth.png', npy='depth.npy') | ({} if estimate.camera is None else dict(ply='points.ply'))
    for form, name in forms.items():
        save(estimate, form, folder / name, STYLE)
    return [folder / name for name in forms.values()]


def coloured(estimate: Estimate) -> np.ndarray:
    """Depth as a picture with its bar to the right, RGB uint8 ``(H, W + bar, 3)``."""
    return picture(estimate, 'colour', STYLE)
