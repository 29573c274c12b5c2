"""Steps from an image file to a classifier's input: read from the config's test data, and carried by exported files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from torch import nn

from bireal_plugin.checkpoints.loading import fetch_checkpoint
from bireal_plugin.data.classification import build_transform
from bireal_plugin.data.image_file import read_rgb
from bireal_plugin.dry_run import input_shape
from bireal_plugin.errors import InputError
from bireal_plugin.models.classifier import BiRealClassifier, ImagePreprocessor

KEY = 'preparation'  # in the metadata of an exported file


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
        dataset = (config.get('test_dataloader') or {}).get('dataset')
        if dataset is None or 'pipeline' in dataset:
            raise InputError(f'{where} has no test_dataloader whose dataset has a transform of this package')
        transform = dataset.get('transform')
        if transform is not None:
            transform = Config(dict(transform=dict(transform))).to_dict()['transform']
        mean, std = (tuple(values.flatten().tolist()) for values in (preprocessor.mean, preprocessor.std))
        channels = input_shape(model)[0]
        mean, std = (values * channels if len(values) == 1 else values for values in (mean, std))
        return cls(transform, (size[0], size[1]), mean, std, None if classes is None else tuple(classes))

    def as_metadata(self) -> dict[str, str]:
        """The entry for an exported file's metadata."""
        return {KEY: json.dumps(asdict(self))}

    @classmethod
    def of_metadata(cls, metadata: Mapping[str, str], source: str) -> Preparation:
        """The preparation that an exported file carries.

        Raises:
            InputError: it carries none, or a damaged one.
        """
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

    def reader(self, source: str) -> Callable[[Path], np.ndarray]:
        """Function that reads an image file to the network's input, float32 ``(C, H, W)``.

        It raises InputError where the file cannot be decoded, or has another size than the network and no transform
        changes it. An EXIF orientation is ignored, as in training on ImageNet.

        Raises:
            InputError: the transform is none of the registered ones.
        """
        kind = (self.transform or {}).get('type', '')
        if self.transform is not None and (not isinstance(kind, str) or '.' in kind or TRANSFORMS.get(kind) is None):
            raise InputError(
                f'{source}: there is no transform {kind!r} here; it was exported with a package of its own'
            )
        transform = build_transform(self.transform)
        mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (self.mean, self.std))

        def read(path: Path) -> np.ndarray:
            image = read_rgb(path, exif=False)
            pixels = transform(image.convert('L') if len(mean) == 1 else image, np.random.default_rng(0)).numpy()
            if pixels.shape[1:] != self.size:
                raise InputError(
                    f'{path} has {pixels.shape[1]} x {pixels.shape[2]} px and the network takes {self.size[0]} x '
                    f'{self.size[1]}: resize the image, since the test data that the network was trained with has no '
                    'transform that does'
                )
            return (pixels.astype(np.float32) - mean) / std

        return read


def preparation_metadata(
    config: Config, model: nn.Module, size: Sequence[int], checkpoint: str | Path
) -> dict[str, str]:
    """The entry for the files of a classifier; empty for other networks, and where the config does not say it."""
    try:
        return Preparation.of_config(config, model, size, class_names(checkpoint)).as_metadata()
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
