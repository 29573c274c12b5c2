"""Ways of running a network that the inference benchmark times, and whether this machine has them.

``prepared.py`` runs them. Each is one of the export engines in one precision, or PyTorch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Literal, get_args

from bireal_plugin.errors import InputError
from bireal_plugin.export.engines import ENGINES
from bireal_plugin.export.openvino.engine import core
from bireal_plugin.export.optional_package import require
from bireal_plugin.export.tflite.larq_process import larq_python
from bireal_plugin.studies.speed.networks import Contender

TimedEngine = Literal[
    'openvino-f32',
    'openvino-bf16',
    'openvino-int8',
    'onnxruntime',
    'torch',
    'torch-channels-last',
    'torch-compile',
    'tflite',
]
TIMED_ENGINES: tuple[TimedEngine, ...] = get_args(TimedEngine)
OPENVINO: tuple[TimedEngine, ...] = ('openvino-f32', 'openvino-bf16', 'openvino-int8')
# The folded network is PyTorch's reference of the 1-bit operator, not a way to run it fast: eager shows it once.
WITHOUT: dict[Contender, tuple[TimedEngine, ...]] = {
    'ours': ('torch-channels-last', 'torch-compile'),
    'twin': ('tflite',),
    'torchvision': ('tflite',),
}
# Export engines behind them, and packages beyond those that the engine always needs.
BEHIND: dict[TimedEngine, tuple[str, tuple[str, ...]]] = {
    'openvino-f32': ('openvino', ()),
    'openvino-bf16': ('openvino', ()),
    'openvino-int8': ('openvino', ('nncf',)),
    'onnxruntime': ('onnx', ()),
    'tflite': ('tflite', ()),
}


def choose_engines(given: Sequence[str] | None, *, without: Sequence[TimedEngine] = ()) -> list[TimedEngine]:
    """The engines called ``given``; by default all but tflite, whose x86 kernels take seconds.

    Args:
        without: engines to leave out of either.

    Raises:
        InputError: an unknown name, nothing is left, or an engine cannot run on this machine. By default openvino-bf16
            is then left out without one, since no package would help.
    """
    unknown = [name for name in given or () if name not in TIMED_ENGINES]
    if unknown:
        raise InputError(f'there is no engine {unknown[0]!r}; there are {", ".join(TIMED_ENGINES)}')
    wanted = [engine for engine in TIMED_ENGINES if (engine in given if given else engine != 'tflite')]
    chosen = [engine for engine in wanted if engine not in without]
    if not chosen:
        raise InputError(f'no engine is left without {", ".join(without)}')
    for engine in chosen:
        check_packages(engine)
    if given is None and 'openvino-bf16' in chosen and not has_bf16():
        chosen.remove('openvino-bf16')
    for engine in chosen:
        check_machine(engine)
    return chosen


def combinations(sides: Sequence[Contender], engines: Sequence[TimedEngine]) -> list[tuple[Contender, TimedEngine]]:
    """Every side on every engine that it has a form for.

    Raises:
        InputError: there is none.
    """
    found = [(side, engine) for side in sides for engine in engines if engine not in WITHOUT[side]]
    if not found:
        raise InputError(f'none of the engines {", ".join(engines)} runs any of the sides {", ".join(sides)}')
    return found


def check_packages(engine: TimedEngine) -> None:
    """Raise InputError if a package that ``engine`` needs is not installed."""
    if engine in BEHIND:
        format, more = BEHIND[engine]
        require(*ENGINES[format].packages, *more, engine=format)


def check_machine(engine: TimedEngine) -> None:
    """Raise InputError if the processor or the tools on this machine do not do for ``engine``."""
    if engine == 'openvino-bf16' and not has_bf16():
        raise InputError('the engine openvino-bf16: this processor has no bf16 instructions; leave it out of --engines')
    if engine == 'tflite':
        larq_python()
    compiler = os.environ.get('CXX')
    if engine == 'torch-compile' and not any(shutil.which(name) for name in (compiler, 'g++', 'clang++') if name):
        raise InputError('the engine torch-compile needs a C++ compiler: install g++, or give --no-compile')


def has_bf16() -> bool:
    """Whether OpenVINO computes in bf16 on this processor; asked for elsewhere, it would stay at float32 silently."""
    return 'BF16' in core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
