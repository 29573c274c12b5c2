"""``Classifier``: classes of image files by any exported file or checkpoint; ``Preparation``: its images and names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from torch import nn

from bireal_plugin.checkpoints.loading import fetch_checkpoint
from bireal_plugin.data.classification import build_transform
from bireal_plugin.data.image_file import read_rgb
from bireal_plugin.dry_run import input_shape
from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import Session
from bireal_plugin.export.session_io import EngineSession, pinned
from bireal_plugin.models.classifier import BiRealClassifier, ImagePreprocessor
from bireal_plugin.training.config import dataset_of

KEY, PART = 'preparation', 'part'  # in the metadata of an exported file


@dataclass(frozen=True)
class Preparation:
    """Image file to normalised input, and names of the outputs.

    Attributes:
        transform: config of the test data's transform; None takes images of ``size`` as they are.
        size: height and width of the input, px.
        mean, std: of pixel values 0 to 255, one per channel; one channel is grey, three are RGB.
        classes: names in the order of the outputs; None where they are not known.
    """

    transform: dict[str, Any] | None
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] | None = None

    @classmethod
    def of_config(
        cls, config: Config, model: nn.Module, size: Sequence[int], classes: Sequence[str] | None
    ) -> Preparation:
        """The preparation that a config tests with.

        Raises:
            InputError: the model is no classifier of this package, or the config does not say how images are made.
        """
        where = str(config.filename)
        preprocessor = getattr(model, 'data_preprocessor', None)
        if not isinstance(model, BiRealClassifier) or not isinstance(preprocessor, ImagePreprocessor):
            raise InputError(f'{where}: a {type(model).__name__} is no BiRealClassifier with an ImagePreprocessor')
        dataset = dataset_of(config)
        if not dataset or 'pipeline' in dataset:
            raise InputError(f'{where} has no test_dataloader whose dataset has a transform of this package')
        transform = dataset.get('transform')
        if transform is not None:
            transform = Config(dict(transform=dict(transform))).to_dict()['transform']
        mean, std = (tuple(values.flatten().tolist()) for values in (preprocessor.mean, preprocessor.std))
        channels = input_shape(model)[0]
        mean, std = (values * channels if len(values) == 1 else values for values in (mean, std))
        return cls(transform, (size[0], size[1]), mean, std, None if classes is None else tuple(classes))

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str], source: str) -> Preparation:
        """The preparation that an exported file carries.

        Raises:
            InputError: it carries none, or a damaged one, or holds a part of a network alone.
        """
        if PART in metadata:
            raise InputError(
                f'{source} holds the {metadata[PART]} of a network alone, whose outputs are feature maps: give the '
                'checkpoint of the whole'
            )
        if KEY not in metadata:
            raise InputError(
                f'{source} does not say how its images are made; export it again: bireal export CHECKPOINT'
            )
        try:
            told = json.loads(metadata[KEY])
            height, width = told['size']
            names = told['classes']
            return cls(
                None if told['transform'] is None else dict(told['transform']),
                (int(height), int(width)),
                tuple(map(float, told['mean'])),
                tuple(map(float, told['std'])),
                None if names is None else tuple(map(str, names)),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f'{source}: the entry {KEY!r} of its metadata is damaged; export it again') from error


@dataclass(frozen=True)
class Guess:
    """One of the most probable classes; ``name`` is None where names are not known."""

    index: int
    name: str | None
    probability: float

    def __str__(self) -> str:
        return f'{self.probability:6.1%}  {self.name or f"class {self.index}"}'


class Classifier:
    """Image file to its most probable classes.

    Args:
        run: normalised images ``(N, C, H, W)`` to logits ``(N, classes)``.
        batch: images that ``run`` takes at once.
        source: of the network, for sentences.

    Attributes:
        classes: names of the outputs, at first those of the preparation; None where they are not known.

    Raises:
        InputError: the preparation's transform is none of the registered ones.
    """

    def __init__(
        self, run: Callable[[np.ndarray], Sequence[np.ndarray]], preparation: Preparation, *, batch: int, source: str
    ) -> None:
        self.run, self.preparation, self.batch, self.source = run, preparation, batch, source
        self.classes = preparation.classes
        transform = preparation.transform
        kind = (transform or {}).get('type', '')
        if transform is not None and (not isinstance(kind, str) or '.' in kind or TRANSFORMS.get(kind) is None):
            raise InputError(
                f'{source}: there is no transform {kind!r} here; it was exported with a package of its own'
            )
        self.transform = build_transform(transform)

    @classmethod
    def of_file(cls, path: Path, *, threads: int | None = None) -> Classifier:
        """Of an exported file, which says itself how its images are made."""
        return cls.of_session(Session(path, threads=threads), str(path))

    @classmethod
    def of_session(cls, session: EngineSession, source: str) -> Classifier:
        """Of an exported file that is open."""
        preparation = Preparation.of_metadata(session.metadata, source)
        batch = session.accepted[0]
        return cls(session, preparation, batch=batch if isinstance(batch, int) else 1, source=source)

    @classmethod
    def of_model(cls, model: nn.Module, preparation: Preparation, source: str, threads: int | None) -> Classifier:
        """Of a network that ``load_trained`` gives."""

        @torch.no_grad()
        def run(images: np.ndarray) -> list[np.ndarray]:
            with pinned(threads):
                return [model(torch.from_numpy(images)).numpy()]

        return cls(run, preparation, batch=1, source=source)

    def read(self, path: Path) -> np.ndarray:
        """The network's input of an image file, float32 ``(C, H, W)``.

        An EXIF orientation is ignored, as in training on ImageNet.

        Raises:
            InputError: the file cannot be decoded, or has another size than the network and no transform changes it.
        """
        image = read_rgb(path, exif=False)
        mean, std = (
            np.array(values, dtype=np.float32)[:, None, None]
            for values in (self.preparation.mean, self.preparation.std)
        )
        pixels = self.transform(image.convert('L') if len(mean) == 1 else image, np.random.default_rng(0)).numpy()
        height, width = self.preparation.size
        if pixels.shape[1:] != (height, width):
            raise InputError(
                f'{path} has {pixels.shape[1]} x {pixels.shape[2]} px and the network takes {height} x {width}: resize '
                'the image, since the test data that the network was trained with has no transform that does'
            )
        return (pixels.astype(np.float32) - mean) / std

    def __call__(self, path: Path, *, top: int = 5) -> list[Guess]:
        """The ``top`` most probable classes of an image file, best first.

        Raises:
            InputError: the image cannot be read or does not fit, or the network's output or names are no classifier's.
        """
        outputs = self.run(np.repeat(self.read(path)[None], self.batch, axis=0))
        if len(outputs) != 1 or outputs[0].ndim != 2:
            shapes = ', '.join(str(tuple(output.shape)) for output in outputs)
            raise InputError(f'{self.source} gives outputs of shape {shapes}, no logits of a classifier')
        logits = torch.tensor(outputs[0][0], dtype=torch.float64)
        names = self.classes
        if names is not None and len(names) != len(logits):
            raise InputError(f'{self.source} has {len(logits)} classes, but there are {len(names)} names')
        ordered = logits.softmax(0).sort(descending=True, stable=True)
        best = zip(ordered.indices[:top].tolist(), ordered.values.tolist(), strict=False)
        return [Guess(i, None if names is None else names[i], probability) for i, probability in best]


def preparation_metadata(
    config: Config, model: nn.Module, size: Sequence[int], checkpoint: str | Path
) -> dict[str, str]:
    """The entry for the files of a classifier; empty for other networks, and where the config does not say it."""
    try:
        return {KEY: json.dumps(asdict(Preparation.of_config(config, model, size, class_names(checkpoint))))}
    except InputError:  # then `bireal predict` refuses the files
        return {}


def dataset_meta(checkpoint: str | Path) -> dict[str, Any]:
    """The description of its training data that a checkpoint carries, such as ``classes``; empty where it has none."""
    meta = fetch_checkpoint(str(checkpoint)).get('meta')
    told = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    return dict(told) if isinstance(told, Mapping) else {}


def class_names(checkpoint: str | Path) -> tuple[str, ...] | None:
    """Names of the classes in a checkpoint, human ones where there are; None where it has none."""
    told = dataset_meta(checkpoint)
    names = told.get('class_names') or told.get('classes')
    return tuple(map(str, names)) if names else None
