"""Report of one loading of weights: counts and names of what fits and what does not."""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass

from bireal_plugin.checkpoints.layouts import OWN, Naming
from bireal_plugin.errors import listed


@dataclass(frozen=True)
class LoadReport:
    """Report of one loading: ``str`` of it is a line for the log, ``mapping`` lists the renamed tensors.

    Attributes:
        source: name of the weights in sentences, such as a file name.
        total: number of the model's tensors.
        loaded: the model's name -> the file's, of what was copied.
        missing: the model's names that the file has nothing for, without explanation; ``naming.absent`` has the others.
        unknown: the file's names that the model has no place for; ``naming.dropped`` has those no network has.
        wrong_shape: the model's name -> shapes in the file and in the model.
        advice: consequences for training; empty if there are none.
    """

    source: str
    naming: Naming
    total: int
    loaded: dict[str, str]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    wrong_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    advice: str = ''

    @property
    def complete(self) -> bool:
        """Everything fits but the tensors whose absence the layout explains."""
        return bool(self.loaded) and not (self.missing or self.unknown or self.wrong_shape)

    @property
    def level(self) -> int:
        """Of ``logging``: a warning where something does not fit or has consequences."""
        return logging.INFO if self.complete and not self.advice else logging.WARNING

    def sentence(self, limit: int) -> str:
        """Counts of tensors that fit and that do not, with up to ``limit`` names of each kind."""
        parts = [f"{self.source}: {len(self.loaded)} of the model's {self.total} tensors loaded"]
        if self.naming.layout != OWN:
            parts.append(f'names of a {self.naming.layout} mapped')
        for word, reasons in (('not in the file', self.naming.absent), ('left out', self.naming.dropped)):
            for reason in dict.fromkeys(reasons.values()):
                names = [name for name in reasons if reasons[name] == reason]
                parts.append(f'{len(names)} {word} ({listed(names, limit)}): {reason}')
        misfits = (('not in the file', self.missing), ('not in the model', self.unknown))
        for word, misfit in (*misfits, ('of another shape', tuple(self.wrong_shape))):
            if misfit:
                parts.append(f'{len(misfit)} {word} ({listed(misfit, limit)})')
        if self.wrong_shape:
            theirs, ours = next(iter(self.wrong_shape.values()))
            parts[-1] += f', the first {theirs} instead of {ours}'
        return '; '.join(parts)

    def __str__(self) -> str:
        return '; '.join(filter(None, [self.sentence(limit=4), self.advice]))

    def mapping(self) -> str:
        """One line per kind of renaming, ``count  file's name -> model's name``, block numbers as ``*``."""
        counts = Counter((_pattern(old), _pattern(new)) for new, old in self.loaded.items())
        return '\n'.join(f'{count:5d}  {old} -> {new}' for (old, new), count in counts.items())


def _pattern(name: str) -> str:
    name = re.sub(r'(layer\d|layers)\.\d+', r'\1.*', name)
    return re.sub(r'layer\d', 'layer*', re.sub(r'(bn\d|downsample\.\d|fc)\.\w+$', r'\1.*', name))
