"""``Classifier``: classes of image files by any exported file or checkpoint of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import Session
from bireal_plugin.export.session_io import pinned
from bireal_plugin.shipping.network import tested_size
from bireal_plugin.shipping.preparation import Preparation, class_names


@dataclass(frozen=True)
class Guess:
    """One of the most probable classes; ``name`` is None where names are not known."""

    index: int
    name: str | None
    probability: float


class Classifier:
    """Image file to its most probable classes.

    Args:
        run: normalised images ``(N, C, H, W)`` to logits ``(N, classes)``.
        batch: images that ``run`` takes at once.
        source: of the network, for sentences.
    """

    def __init__(
        self, run: Callable[[np.ndarray], Sequence[np.ndarray]], preparation: Preparation, *, batch: int, source: str
    ) -> None:
        self.run, self.preparation, self.batch, self.source = run, preparation, batch, source
        self.read = preparation.reader(source)

    @classmethod
    def of_file(cls, path: Path, *, threads: int | None = None) -> Classifier:
        """Of an exported file, which says itself how its images are made."""
        session = Session(path, threads=threads)
        preparation = Preparation.of_metadata(session.metadata, str(path))
        batch = session.accepted[0]
        return cls(session, preparation, batch=batch if isinstance(batch, int) else 1, source=str(path))

    @classmethod
    def of_model(
        cls,
        model: nn.Module,
        config: Config,
        checkpoint: str | Path,
        *,
        size: Sequence[int] | None = None,
        threads: int | None = None,
    ) -> Classifier:
        """Of a network and config that ``load_trained`` gives; the names come from the checkpoint.

        Args:
            size: height and width of the images; by default those of the config's test data.
        """
        preparation = Preparation.of_config(config, model, size or tested_size(config, model), class_names(checkpoint))

        @torch.no_grad()
        def run(images: np.ndarray) -> list[np.ndarray]:
            with pinned(threads):
                return [model(torch.from_numpy(images)).numpy()]

        return cls(run, preparation, batch=1, source=str(checkpoint))

    def named(self, classes: Sequence[str]) -> Classifier:
        """The same with other names."""
        return Classifier(
            self.run, replace(self.preparation, classes=tuple(classes)), batch=self.batch, source=self.source
        )

    def __call__(self, path: Path, *, top: int = 5) -> list[Guess]:
        """The ``top`` most probable classes of an image file, best first.

        Raises:
            InputError: the image cannot be read or does not fit, or the network's output or names are no classifier's.
        """
        outputs = self.run(np.repeat(self.read(path)[None], self.batch, axis=0))
        if len(outputs) != 1 or outputs[0].ndim != 2:
            shapes = ', '.join(str(tuple(output.shape)) for output in outputs)
            raise InputError(f'{self.source} gives outputs of shape {shapes}, no logits of a classifier')
        logits = outputs[0][0].astype(np.float64)
        names = self.preparation.classes
        if names is not None and len(names) != len(logits):
            raise InputError(f'{self.source} has {len(logits)} classes, but there are {len(names)} names')
        powers = np.exp(logits - logits.max())
        probabilities = powers / powers.sum()
        best = np.argsort(-probabilities, kind='stable')[:top]
        return [Guess(int(i), None if names is None else names[i], float(probabilities[i])) for i in best]
