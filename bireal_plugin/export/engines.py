"""The table of engines, one call to write a network for any of them, and one to run what was written.

To add an engine: a folder beside this file with an exporter and a session, and one row in ``ENGINES``.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.c.engine import CSession, export_c
from bireal_plugin.export.onnx.engine import ONNXSession, export_onnx
from bireal_plugin.export.onnx.qonnx import PACKAGES, QONNXSession, export_qonnx
from bireal_plugin.export.openvino.engine import OpenVINOSession, export_openvino
from bireal_plugin.export.packed.file import PackedSession, export_packed
from bireal_plugin.export.program import check_weights, folded
from bireal_plugin.export.session_io import EngineSession, Precision
from bireal_plugin.export.tflite.engine import TFLiteSession, export_tflite
from bireal_plugin.zoo import local_file


@dataclass(frozen=True)
class RealPrecision:
    """A precision that an engine offers for real layers.

    Attributes:
        exporting: options of the exporter; where there are any, the precision has a file of its own.
        running: options of the session.
        calibrated: the exporter also needs ``calibration``, batches of images.
    """

    exporting: Mapping[str, Any]
    running: Mapping[str, Any]
    calibrated: bool = False

    @property
    def own_file(self) -> bool:
        """Whether the file differs from the one with real layers in float32."""
        return bool(self.exporting) or self.calibrated


F32, INT8 = RealPrecision({}, {}), RealPrecision({}, {}, calibrated=True)


@dataclass(frozen=True)
class Engine:
    """A way to run a folded network, and the files that it runs from.

    Attributes:
        suffix: of the file that names an artefact. beside: suffixes of its further files.
        exporter: ``(folded model, path, example_shape, **options)`` writes the artefact.
        session: ``(path, **options)`` runs it.
        precisions: of real layers.
        packages: to install beside this one; the extra that brings them has the engine's name in ``ENGINES``.
        fuses: the engine merges operators, which reading a tensor between them prevents.
    """

    suffix: str
    exporter: Callable[..., Path]
    session: Any  # a class: type[EngineSession] would promise that all take the same arguments
    precisions: Mapping[Precision, RealPrecision]
    packages: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    fuses: bool = False


SMALLER: tuple[Precision, ...] = ('f16', 'bf16', 'int8')
PACKED: dict[Precision, RealPrecision] = {key: RealPrecision(dict(real_layers=key), {}) for key in SMALLER}
OPENVINO: dict[Precision, RealPrecision] = {
    'bf16': RealPrecision({}, dict(real_layers='bf16')),
    'int8': INT8,
}
# C computes in float32 but for int8; f16 and bf16 are how feature maps lie in memory.
C: dict[Precision, RealPrecision] = {
    'f16': RealPrecision(dict(maps='f16'), {}),
    'bf16': RealPrecision(dict(maps='bf16'), {}),
    'int8': INT8,
}
ENGINES: dict[str, Engine] = {
    'packed': Engine('.safetensors', export_packed, PackedSession, {'f32': F32, **PACKED}),
    'c': Engine('.c', export_c, CSession, {'f32': F32, **C}, beside=('.h',)),
    'openvino': Engine(
        '.xml', export_openvino, OpenVINOSession, {'f32': F32, **OPENVINO}, ('openvino',), beside=('.bin',), fuses=True
    ),
    'onnx': Engine('.onnx', export_onnx, ONNXSession, {'f32': F32}, ('onnx', 'onnxscript', 'onnxruntime'), fuses=True),
    'tflite': Engine('.tflite', export_tflite, TFLiteSession, {'f32': F32}, ('flatbuffers', 'tflite')),
    'qonnx': Engine('.qonnx', export_qonnx, QONNXSession, {'f32': F32}, PACKAGES),
}


def export(
    model: nn.Module, format: str, example_shape: Sequence[Any], *, path: str | Path | None = None, **options: Any
) -> Path:
    """Write ``model`` for an engine; return the file's path.

    Args:
        model: a trained network, folded or not, in any precision; it is unchanged. Files have float32 numbers.
        format: 'packed', 'c', 'openvino', 'onnx', 'tflite' or 'qonnx'.
        example_shape: ``(N, C, H, W)`` of the input; a list of shapes for a network with several inputs.
        path: by default the class name of ``model`` in the current folder, with the engine's suffix.
        options: of the engine. 'packed': ``config`` (needed) and ``real_layers``. The others: ``metadata``, texts to
            keep in the file. 'c': ``mean`` and ``std`` of images of bytes, and ``maps='f16'|'bf16'``, in which feature
            maps lie in memory. 'c' and 'openvino': ``calibration``, batches by which real layers become int8.

    Raises:
        InputError: an unknown format or option, a network that cannot be folded or that the engine cannot express.
    """
    if format not in ENGINES:
        raise InputError(f'format is {", ".join(ENGINES)}, not {format!r}')
    path = Path(f'{type(model).__name__.lower()}{ENGINES[format].suffix}') if path is None else Path(path)
    return write(folded(model, example_shape), format, example_shape, path, **options)


def write(model: nn.Module, format: str, example_shape: Sequence[Any], path: Path, **options: Any) -> Path:
    """As ``export``, for a network that is folded already or has no 1-bit layers."""
    engine = ENGINES[format]
    _check_options(engine.exporter, options, what=f'export to {format}')
    if path.suffix != engine.suffix:
        raise InputError(f'{format} is written to a file {engine.suffix}, not {path}')
    check_weights(model)
    if not path.parent.is_dir():
        raise InputError(f'the folder {path.parent} does not exist; make it first')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # PyTorch's exporter, about its own code
        return engine.exporter(model, path, tuple(example_shape), **options)


def Session(path: str | Path, **options: Any) -> EngineSession:  # noqa: N802  reads like the classes it stands for
    """Open an exported file to run it; the suffix tells the engine. See ``EngineSession`` for what a session has.

    Args:
        path: a file, or the address of a packed one, as ``zoo://NAME``.
        options: ``threads`` for every engine (None: all cores), ``real_layers='f32'|'bf16'`` for OpenVINO.

    Raises:
        InputError: an unknown suffix or option, a file that is missing or unreadable, a package that is not installed.
    """
    file = local_file(path)
    engine = engine_of(file)
    _check_options(engine.session, options, what=f'a session of {path}')
    return engine.session(file, **options)


def engine_of(path: str | Path) -> Engine:
    """The engine that runs ``path``, by its suffix.

    Raises:
        InputError: no engine has this suffix.
    """
    for engine in ENGINES.values():
        if Path(path).suffix == engine.suffix:
            return engine
    known = ', '.join(f'{engine.suffix} ({name})' for name, engine in ENGINES.items())
    raise InputError(f'no engine runs {path}; there are {known}')


def files_of(path: Path) -> list[Path]:
    """All files of the artefact at ``path``."""
    return [path, *(path.with_suffix(suffix) for suffix in engine_of(path).beside)]


def megabytes(path: Path) -> float:
    """Size of an artefact with all its files, in 10^6 bytes."""
    return sum(file.stat().st_size for file in files_of(path)) / 1e6


def _check_options(function: Callable[..., Any], options: Mapping[str, Any], *, what: str) -> None:
    named = inspect.signature(function).parameters
    own = {name: each for name, each in named.items() if each.kind is each.KEYWORD_ONLY}
    for name in options:
        if name not in own:
            raise InputError(f'{what} has no option {name!r}; it takes {", ".join(own) or "none"}')
    for name, parameter in own.items():
        if parameter.default is parameter.empty and name not in options:
            raise InputError(f'{what} needs the option {name}')
