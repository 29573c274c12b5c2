"""The session that every engine has: batches in, arrays out, and tensors read from inside; here or in a child."""

from __future__ import annotations

import math
import os
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from bireal_plugin.errors import InputError
from bireal_plugin.export.child import Child

LARGEST = 2**28  # numbers of an input, 1 GiB
CLOSED = 'the session of {} is closed; open another one'
# How a real layer's weights are stored, or in what it computes; each engine has some of them.
Precision = Literal['f32', 'f16', 'bf16', 'int8']

# Outputs of a network on a batch, and the tensors that were read from inside it.
Tapped = Callable[..., tuple[list[np.ndarray], list[np.ndarray]]]
# From (input of the sign, output of the convolution) of every 1-bit layer to the tensors to read.
Choice = Callable[[Sequence[tuple[Any, Any]]], list[Any]]


class EngineSession(ABC):
    """An exported file that is ready to run: ``session(batch)`` gives the network's outputs.

    Outputs are float32 arrays in the order of the PyTorch network's; feature maps are ``(N, C, H, W)`` in every engine.
    Calls from any number of threads are safe; where an engine allows no more they take turns. In a process that was
    forked from the session's own, calls go to a new process that reads the file again; so does a session that was
    pickled or copied. A session ends with ``close()``, with its ``with`` block, or when it is collected.

    Attributes:
        source: the file's path, for error sentences.
        input_shape: ``(N, C, H, W)`` that the file was written for; a name such as 'height' where any size will do.
        accepted: the same, with names also for the sizes that the engine can change.
        others: as ``accepted``, of every further input of a network with several.
        metadata: texts that the file carries.
    """

    source: str
    input_shape: tuple[int | str, ...]
    others: tuple[tuple[int | str, ...], ...] = ()
    metadata: Mapping[str, str]
    closed = False

    def __init__(self, source: Any, **options: Any) -> None:
        self.source, self.path, self.process = str(source), Path(source).absolute(), os.getpid()
        self.again: Callable[..., EngineSession] = partial(type(self), **options)  # from the file's path
        self.apart: Callable[..., ChildSession] = partial(ChildSession, type(self), **options)  # likewise
        self.forked: dict[int, ChildSession] = {}

    @property
    def accepted(self) -> tuple[int | str, ...]:
        """See the attributes above."""
        return self._accepted

    @accepted.setter
    def accepted(self, shape: tuple[int | str, ...]) -> None:
        if math.prod(size if isinstance(size, int) else 32 for size in shape) > LARGEST:
            raise InputError(f'{self.source} takes inputs of shape {shape}, which is larger than any image')
        self._accepted = shape

    def __call__(self, *batches: Tensor | np.ndarray) -> list[np.ndarray]:
        """Run on a batch ``(N, C, H, W)`` of normalised images, of any floating-point type; engines compute in float32.

        Args:
            batches: one for each input of the network, of equal numbers of images.

        Raises:
            InputError: a batch has another shape than the file takes, is of integers, as pixels are, or holds NaN or
                infinite numbers; or the session is closed.
        """
        if self.closed:
            raise InputError(CLOSED.format(self.source))
        wanted = [self.accepted, *self.others]
        if len(batches) != len(wanted):
            raise InputError(f'the network has {len(wanted)} inputs, not {len(batches)}')
        arrays = [_as_input(batch, accepted) for batch, accepted in zip(batches, wanted, strict=True)]
        if len({len(array) for array in arrays}) > 1:
            counts = ' and '.join(str(len(array)) for array in arrays)
            raise InputError(f'the inputs have {counts} images; give equal numbers')
        return self.run(*arrays) if self.process == os.getpid() else self._elsewhere().run(*arrays)

    def _elsewhere(self) -> ChildSession:
        """The session of a process that was forked from this one's, where the threads of the engine are missing."""
        here, path = os.getpid(), self._file()
        if here not in self.forked:
            self.forked.setdefault(here, self.apart(path))
        return self.forked[here]

    def _file(self) -> Path:
        if not self.path.is_file():
            raise InputError(f'{self.source} is no file to be read again in another process; open a session there')
        return self.path

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled session is the path of its file.

        Raises:
            InputError: it is closed, or there is no file.
        """
        if self.closed:
            raise InputError(CLOSED.format(self.source))
        return self.again, (self._file(),)

    @abstractmethod
    def run(self, *batches: np.ndarray) -> list[np.ndarray]:
        """As a call, on contiguous float32 arrays of accepted shapes."""

    def close(self) -> None:
        """Free what the session holds; closing twice is harmless."""
        self.closed = True

    @classmethod
    def tap(cls, path: Path, choice: Choice, **options: Any) -> Tapped:
        """Run a copy of ``path`` that has the chosen tensors as further outputs; it is deleted once it is read.

        Args:
            options: of the session.
        """
        with tempfile.TemporaryDirectory(prefix='bireal_') as folder:
            target = Path(folder, path.name)
            count = cls.write_tapped(path, target, choice)
            session = cls(target, **options)  # type: ignore[call-arg]

        def run(*batches: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
            results = session(*batches)
            split = len(results) - count
            return results[:split], results[split:]

        return run

    @staticmethod
    def write_tapped(path: Path, target: Path, choice: Choice) -> int:
        """Write the file at ``path`` to ``target`` with the chosen tensors as further outputs; return their number.

        A layer is known by its operators, not by names: the operator that takes a sign, and the convolution behind it.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _as_input(batch: Tensor | np.ndarray, accepted: Sequence[int | str]) -> np.ndarray:
    if isinstance(batch, Tensor):  # numpy has no bfloat16
        batch = batch.detach().cpu().to(torch.float32 if batch.dtype is torch.bfloat16 else batch.dtype).numpy()
    array = np.asarray(batch)
    fits = array.ndim == len(accepted) and all(
        size == wanted if isinstance(wanted, int) else size > 0
        for size, wanted in zip(array.shape, accepted, strict=True)
    )
    if not fits or array.dtype.kind not in 'fiu':
        wanted = ', '.join(map(str, accepted))
        raise InputError(f'the network takes numbers of shape ({wanted}), not {array.dtype} of shape {array.shape}')
    if array.dtype.kind != 'f':  # as nn.Conv2d raises
        raise InputError(
            f'the network takes normalised images, not {array.dtype}: (pixels - mean) / std of its training'
        )
    with np.errstate(over='ignore'):
        numbers = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(numbers).all():
        raise InputError('the batch holds NaN or infinite numbers, of which each engine makes other answers')
    return numbers


class ChildSession(EngineSession):
    """A session of any engine in a process of its own: where the engine crashes, a call raises ``CrashError``."""

    def __init__(self, engine: type[EngineSession], path: Path, **options: Any) -> None:
        super().__init__(path)
        self.again = self.apart = partial(ChildSession, engine, **options)
        self.child = Child(self.source, engine, path, **options)
        for name in ('input_shape', 'accepted', 'others', 'metadata'):
            setattr(self, name, self.child('__getattribute__', name))

    @property
    def seconds(self) -> float:
        """Duration of the last run in the child."""
        return self.child.seconds

    def run(self, *batches: np.ndarray) -> list[np.ndarray]:
        return self.child('run', *batches)

    def close(self) -> None:
        super().close()
        self.child.close()


def tapped_child(engine: type[EngineSession], path: Path, choice: Choice, **options: Any) -> Tapped:
    """``engine.tap`` in a process of its own; ``choice`` is pickled by its name."""
    return partial(Child(str(path), engine.tap, path, choice, **options), '__call__')


def flat_outputs(outputs: Any) -> list[Tensor]:
    """The tensors of a PyTorch network's output, which is a tensor or tensors nested in tuples and lists.

    Raises:
        InputError: the output holds anything else.
    """
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, (tuple, list)):
        return [tensor for output in outputs for tensor in flat_outputs(output)]
    raise InputError(f'a network to export returns tensors, not {type(outputs).__name__}')


_pinning = threading.RLock()


@contextmanager
def pinned(threads: int | None) -> Iterator[None]:
    """Run the block, one of all at a time, with this number of PyTorch threads; None leaves that as it is."""
    if threads is None:
        yield
        return
    with _pinning:  # the number is one for the whole process
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _forked() -> None:
    global _pinning
    _pinning = threading.RLock()  # a thread that does not exist here may hold the other


os.register_at_fork(after_in_child=_forked)
