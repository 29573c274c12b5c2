"""C, the reference engine: a network as one self-contained file, for any processor that has a C compiler.

``graph`` and ``translation`` make calls of kernels of an exported program, ``fusion`` joins them, ``workspace`` places
what they store, ``source`` writes them, and ``c_compiler`` builds what a session runs here.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from bireal_plugin.c_compiler import built, chosen, has_openmp
from bireal_plugin.errors import InputError
from bireal_plugin.export.c.calls import taps
from bireal_plugin.export.c.file import check_name, read_c, rewrite_c, write_c
from bireal_plugin.export.c.fusion import fuse
from bireal_plugin.export.c.graph import LARGEST, Graph, MapPrecision
from bireal_plugin.export.c.header import CODES, Interface, Statistics
from bireal_plugin.export.c.quantization import observed
from bireal_plugin.export.c.source import parts, write
from bireal_plugin.export.c.translation import OPERATORS, translate
from bireal_plugin.export.c.workspace import ALIGNMENT, plan
from bireal_plugin.export.program import calibration_batches, traced
from bireal_plugin.export.session_io import Choice, EngineSession
from bireal_plugin.export.walk import expressed
from bireal_plugin.folding.norm_pairs import shapes_of


def convert(
    model: nn.Module,
    example_shape: Sequence[Any],
    calibration: Iterable[np.ndarray] | None = None,
    maps: MapPrecision = 'f32',
) -> Graph:
    """A folded network as calls of kernels for one image of ``example_shape`` ``(N, C, H, W)``.

    Args:
        calibration, maps: see ``export_c``.
    """
    if maps not in get_args(MapPrecision):
        raise InputError(f'feature maps in C are {", ".join(get_args(MapPrecision))}, not {maps!r}')
    shapes = shapes_of(example_shape)
    program = expressed(traced(model, [(1, *shape[1:]) for shape in shapes]), OPERATORS)
    images = None if calibration is None else calibration_batches(calibration, shapes[0])
    graph = translate(program, () if images is None else observed(program, np.split(images, len(images))))
    graph.maps = maps
    fuse(graph)
    return graph


def export_c(
    model: nn.Module,
    path: Path,
    example_shape: Sequence[Any],
    *,
    calibration: Iterable[np.ndarray] | None = None,
    maps: MapPrecision = 'f32',
    metadata: Mapping[str, str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Path:
    """Write a folded network to ``path`` (.c), with its header (.h) beside it; functions have the file's name.

    Args:
        example_shape: ``(N, C, H, W)``: a call of the function takes N images, and runs them one after another.
        calibration: batches ``(N, C, H, W)`` of the example shape; real layers are int8 then, else float32.
        maps: precision in which feature maps lie in memory, 'f32', 'f16' or 'bf16'; all is computed in float32.
        mean, std: per channel of images of bytes, for a function that takes these; where they are left out, those that
            a text of ``metadata`` tells, JSON with these keys.

    Raises:
        InputError: wrong shape or name, or an operator without a form in C, by its name.
    """
    check_name(path)
    graph = convert(model, example_shape, calibration, maps)
    placed = plan(graph)
    if placed.size > LARGEST:
        raise InputError(f'{path} would need {placed.size} bytes of memory; give a smaller size of images')
    assert graph.input is not None
    shapes = tuple(output.shape for output in graph.outputs)
    images, image = int(shapes_of(example_shape)[0][0]), tuple(map(int, shapes_of(example_shape)[0][1:]))
    statistics = _statistics(mean, std, metadata or {}, image[0])
    interface = Interface(path.stem, images, image, shapes, placed.size, statistics)
    about = dict(
        name=path.stem,
        images=images,
        image=image,
        outputs=shapes,
        workspace=placed.size,
        layers=[tap.shape for tap in taps(graph)],
        maps=maps,
        shown=None,
        metadata=dict(metadata or {}),
    )
    write_c(path, interface.header(), write(graph, placed, interface), about)
    return path


def _statistics(
    mean: Sequence[float] | None, std: Sequence[float] | None, metadata: Mapping[str, str], channels: int
) -> Statistics | None:
    if (mean is None) != (std is None):
        raise InputError('give mean and std together')
    found = (mean, std)
    for text in metadata.values():
        try:
            told = json.loads(text)
        except ValueError:
            continue
        if mean is None and isinstance(told, dict) and {'mean', 'std'} <= told.keys():
            found = told['mean'], told['std']
    if found[0] is None or found[1] is None:
        return None
    values = [np.asarray(each, np.float64).reshape(-1) for each in found]
    if any(len(each) != channels or not np.isfinite(each).all() for each in values) or not values[1].all():
        raise InputError(f'mean {found[0]} and std {found[1]} are not numbers for each of {channels} channels')
    return Statistics(tuple(values[0].tolist()), tuple(values[1].tolist()))


class CSession(EngineSession):
    """Runs an exported file that it compiles with the machine's C compiler, once for all sessions of the user.

    Calls run in the threads that make them, without Python's lock and each with memory of its own. A file has a batch
    size: other batches are cut into pieces of it, the last one filled up with zeros.

    Args:
        path: of the .c; its header is not needed. threads: of the inference, None for all cores of this process; one
            where the compiler has no OpenMP. The outputs are the same bits with any number.

    Raises:
        InputError: the file is missing, damaged or of another origin, or it cannot be compiled here.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        super().__init__(path, threads=threads)
        about, data = read_c(Path(path))
        self.metadata = about['metadata']
        self.batch_size, image = about['images'], about['image']
        self.accepted = ('batch', *image)
        self.input_shape = (self.batch_size, *image)
        self.outputs, self.layers, self.shown = about['outputs'], about['layers'], about['shown']
        self.maps: MapPrecision = about.get('maps', 'f32')
        self.threads = threads or len(os.sched_getaffinity(0))
        self.workspace_size = about['workspace']
        self.idle: list[np.ndarray] = []
        self.library = load_library(
            data.decode('ascii'), about['name'], shown=self.shown is not None, threads=self.threads
        )
        self.function = getattr(self.library, f'{about["name"]}_run')
        self.function.argtypes = [ctypes.c_void_p] * 3

    def run(self, *batches: np.ndarray) -> list[np.ndarray]:
        (batch,), size = batches, self.batch_size
        with self._workspace() as workspace, _threads(self.library, self.threads):
            pieces = [self._run(batch[start : start + size], workspace) for start in range(0, len(batch), size)]
        joined = pieces[0] if len(pieces) == 1 else [np.concatenate(outputs) for outputs in zip(*pieces, strict=True)]
        return [output[: len(batch)] for output in joined]

    def _run(self, piece: np.ndarray, workspace: np.ndarray) -> list[np.ndarray]:
        size = self.batch_size
        if len(piece) < size:
            piece = np.pad(piece, ((0, size - len(piece)), (0, 0), (0, 0), (0, 0)))
        shapes = [] if self.shown is None else self.layers
        counts = [size * math.prod(shape) for shape in self.outputs]
        result = np.empty(sum(counts) + size * sum(map(math.prod, shapes)), np.float32)
        place = (workspace.ctypes.data + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        code = self.function(piece.ctypes.data, result.ctypes.data, place)
        if code:
            reason = next(name for name, known in CODES.items() if known == code)
            raise InputError(f'{self.source} does not run here: {reason.lower().replace("_", " ")}')
        *parts, shown = np.split(result, np.cumsum(counts))
        outputs = [part.reshape(size, *shape) for part, shape in zip(parts, self.outputs, strict=True)]
        return outputs + [self._layer(shown, place) for place in self.shown or ()]

    def _layer(self, shown: np.ndarray, place: int) -> np.ndarray:
        """One side of a 1-bit layer, ``(N, C, H, W)``, of those that every image has behind the outputs."""
        channels, rows, columns = self.layers[place]
        start = sum(math.prod(shape) for shape in self.layers[:place])
        part = _numbers(shown.reshape(self.batch_size, -1), self.maps)[:, start : start + channels * rows * columns]
        return np.ascontiguousarray(part.reshape(-1, rows, columns, channels).transpose(0, 3, 1, 2))

    @contextmanager
    def _workspace(self) -> Iterator[np.ndarray]:
        """Memory for one call, of an earlier one if there is any; fresh memory costs as much as a layer."""
        try:
            workspace = self.idle.pop()
        except IndexError:
            workspace = np.empty(self.workspace_size + ALIGNMENT, np.uint8)
        yield workspace
        if not self.closed:
            self.idle.append(workspace)

    def close(self) -> None:
        super().close()
        self.idle.clear()

    @staticmethod
    def write_tapped(path: Path, target: Path, choice: Choice) -> int:
        about, _ = read_c(path)
        places = range(len(about['layers']))
        chosen = list(choice(list(zip(places[::2], places[1::2], strict=True))))
        rewrite_c(path, target, shown=chosen)
        return len(chosen)


def _numbers(shown: np.ndarray, maps: MapPrecision) -> np.ndarray:
    """Numbers of feature maps ``(N, ...)`` in float32, of memory that was taken for as many floats."""
    if maps == 'f32':
        return shown
    bits = torch.from_numpy(shown).view(torch.float16 if maps == 'f16' else torch.bfloat16)
    return bits.float().numpy()


_loading = threading.Lock()


def load_library(text: str, name: str, *, shown: bool, threads: int) -> ctypes.CDLL:
    """The compiled file, with its layers shown or not, for one thread or several."""
    parallel = ['-fopenmp'] if threads > 1 and has_openmp(chosen()) else []
    kernels, network = parts(text)
    shared = built(kernels, ['-O3', *parallel], suffix='.o', name=f'{name}.c')
    flags = ['-O2', *parallel, *([f'-D{name.upper()}_TAPS'] if shown else [])]
    library = built(network, flags, suffix='.so', name=f'{name}.c', objects=[shared])
    with _loading:
        return ctypes.CDLL(str(library))


@contextmanager
def _threads(library: ctypes.CDLL, count: int) -> Iterator[None]:
    """OpenMP's number of threads for calls of this thread within the block."""
    if not hasattr(library, 'omp_set_num_threads'):
        yield
        return
    before = library.omp_get_max_threads()
    library.omp_set_num_threads(count)
    try:
        yield
    finally:
        library.omp_set_num_threads(before)
