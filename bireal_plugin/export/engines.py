"""One call to write a network for any engine, and one to run what was written; the table of engines is here alone.

The engines themselves live in files of their own and are imported when they are asked for, since each needs packages
that may not be there.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from bireal_plugin.errors import InputError
from bireal_plugin.folding.fold import fold


class RunningSession(Protocol):
    """Any engine's session: a batch ``(N, C, H, W)`` to the outputs in the torch network's order, float32 and NCHW."""

    def __call__(self, batch: Tensor | np.ndarray) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class Engine:
    """Where the halves of an engine are: ``module.exporter(model, path, shape, ...)``, ``module.session(path, ...)``.

    Attributes:
        real_layers: precisions that real layers can have, to what each means at export and at loading. Options whose
            value is None are for the caller to fill in.
    """

    suffix: str
    module: str
    exporter: str
    session: str
    real_layers: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]

    def load(self, name: str) -> Callable[..., Any]:
        """The exporter or the session, by its name."""
        return getattr(import_module(f'bireal_plugin.export.{self.module}'), name)


FLOAT_ONLY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {'f32': ({}, {})}
ENGINES: dict[str, Engine] = {
    'packed': Engine(
        '.safetensors',
        'packed.engine',
        'export_packed',
        'PackedSession',
        {
            'f32': (dict(real_layers='float32'), {}),
            'f16': (dict(real_layers='float16'), {}),
            'bf16': (dict(real_layers='bfloat16'), {}),
            'int8': (dict(real_layers='int8'), {}),
        },
    ),
    'openvino': Engine(
        '.xml',
        'openvino',
        'export_openvino',
        'OpenVINOSession',
        {
            'f32': ({}, dict(real_layers='f32')),
            'bf16': ({}, dict(real_layers='bf16')),
            'int8': (dict(calibration=None), dict(real_layers='f32')),
        },
    ),
    'onnx': Engine('.onnx', 'onnx', 'export_onnx', 'ONNXSession', FLOAT_ONLY),
    'tflite': Engine('.tflite', 'tflite', 'export_tflite', 'TFLiteSession', FLOAT_ONLY),
    'qonnx': Engine('.qonnx', 'onnx.qonnx', 'export_qonnx', 'QONNXSession', FLOAT_ONLY),
}


def export(
    model: nn.Module, format: str, example_shape: Sequence[int], *, path: str | Path | None = None, **options: Any
) -> Path:
    """Write ``model`` for an engine; the path of the file.

    Args:
        model: a trained network, folded or not; it is unchanged.
        format: 'packed', 'openvino', 'onnx', 'tflite' or 'qonnx'.
        example_shape: ``(N, C, H, W)`` of the input.
        path: by default the class name of ``model`` in the current folder, with the engine's suffix.
        options: of the engine. 'packed': ``config`` (needed) and ``real_layers``. 'openvino': ``calibration``, batches
            by which real layers become int8.

    Raises:
        InputError: an unknown format or option, a network that cannot be folded or that the engine has no form for.
    """
    if format not in ENGINES:
        raise InputError(f'format is {", ".join(ENGINES)}, not {format!r}')
    engine = ENGINES[format]
    exporter = engine.load(engine.exporter)
    _check_options(exporter, options, what=f'export to {format}')
    path = Path(f'{type(model).__name__.lower()}{engine.suffix}') if path is None else Path(path)
    if path.suffix != engine.suffix:
        raise InputError(f'{format} is written to a file {engine.suffix}, not {path}')
    if not path.parent.is_dir():
        raise InputError(f'the folder {path.parent} does not exist; make it first')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # PyTorch's exporter, about its own code
        return exporter(fold(model, example_shape), path, tuple(example_shape), **options)


def Session(path: str | Path, **options: Any) -> RunningSession:  # noqa: N802  reads like the classes it stands for
    """A callable that runs the network in ``path``; the engine is known by the suffix.

    Args:
        options: ``threads`` for every engine (None: all cores), ``real_layers='f32'|'bf16'`` for OpenVINO.

    Raises:
        InputError: an unknown suffix or option, a file that is missing or unreadable, a package that is not installed.
    """
    engine = engine_of(path)
    session = engine.load(engine.session)
    _check_options(session, options, what=f'a session of {path}')
    return session(path, **options)


def engine_of(path: str | Path) -> Engine:
    """The engine that runs ``path``."""
    for engine in ENGINES.values():
        if Path(path).suffix == engine.suffix:
            return engine
    known = ', '.join(f'{engine.suffix} ({name})' for name, engine in ENGINES.items())
    raise InputError(f'no engine runs {path}; there are {known}')


def _check_options(function: Callable[..., Any], options: Mapping[str, Any], *, what: str) -> None:
    parameters = inspect.signature(function).parameters.values()
    own = {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    # OpenVINO's calibration may be given by position or by name.
    own |= {parameter.name: parameter for parameter in list(parameters)[3:]}
    for name in options:
        if name not in own:
            raise InputError(f'{what} has no option {name!r}; it takes {", ".join(own) or "none"}')
    for name, parameter in own.items():
        if parameter.default is parameter.empty and name not in options:
            raise InputError(f'{what} needs the option {name}')
