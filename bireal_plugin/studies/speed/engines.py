"""Ways of running a network that the inference benchmark times, and the machine they run on: whether it has them, its
threads, its facts for the report, its memory.

``prepared.py`` runs the networks. Each engine is one of the export engines in one precision, or PyTorch.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, get_args

import torch

from bireal_plugin.c_compiler import chosen
from bireal_plugin.errors import InputError, require
from bireal_plugin.export.engines import ENGINES
from bireal_plugin.export.openvino.engine import computes_in_bf16
from bireal_plugin.export.tflite.larq_process import larq_python
from bireal_plugin.studies.speed.networks import Contender

CEngine = Literal['c-f32', 'c-f16', 'c-bf16', 'c-int8']
OpenVINOEngine = Literal['openvino-f32', 'openvino-bf16', 'openvino-int8']
TorchEngine = Literal['torch', 'torch-c', 'torch-channels-last', 'torch-compile']
TimedEngine = Literal[CEngine, OpenVINOEngine, 'onnxruntime', TorchEngine, 'tflite']
TIMED_ENGINES: tuple[TimedEngine, ...] = get_args(TimedEngine)
C: tuple[TimedEngine, ...] = get_args(CEngine)
OPENVINO: tuple[TimedEngine, ...] = get_args(OpenVINOEngine)
# Left out unless they are asked for: C's smaller feature maps, which are slower, and kernels that take seconds on x86.
UNASKED: tuple[TimedEngine, ...] = ('c-f16', 'c-bf16', 'tflite')
# The engine in C has fast kernels for 1-bit layers alone. Eager shows the folded network in PyTorch once; torch-c is it
# as `switch_to_deploy('c')` leaves it.
WITHOUT: dict[Contender, tuple[TimedEngine, ...]] = {
    'ours': ('torch-channels-last', 'torch-compile'),
    'twin': (*C, 'torch-c', 'tflite'),
    'torchvision': (*C, 'torch-c', 'tflite'),
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
    """The engines called ``given``; by default all but ``UNASKED``.

    Args:
        without: engines to leave out of either.

    Raises:
        InputError: an unknown name, nothing is left, or an engine cannot run on this machine. By default openvino-bf16
            is then left out without one, since no package would help.
    """
    unknown = [name for name in given or () if name not in TIMED_ENGINES]
    if unknown:
        raise InputError(f'there is no engine {unknown[0]!r}; there are {", ".join(TIMED_ENGINES)}')
    wanted = [engine for engine in TIMED_ENGINES if (engine in given if given else engine not in UNASKED)]
    chosen = [engine for engine in wanted if engine not in without]
    if not chosen:
        raise InputError(f'no engine is left without {", ".join(without)}')
    for format, more in (BEHIND[engine] for engine in chosen if engine in BEHIND):
        require(*ENGINES[format].packages, *more, engine=format)
    if given is None and 'openvino-bf16' in chosen and not computes_in_bf16():
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


def check_machine(engine: TimedEngine) -> None:
    """Raise InputError if the processor or the tools on this machine do not do for ``engine``."""
    if engine == 'openvino-bf16' and not computes_in_bf16():
        raise InputError('the engine openvino-bf16: this processor has no bf16 instructions; leave it out of --engines')
    if engine == 'tflite':
        larq_python()
    if engine in (*C, 'torch-c'):
        chosen()
    compiler = os.environ.get('CXX')
    if engine == 'torch-compile' and not any(shutil.which(name) for name in (compiler, 'g++', 'clang++') if name):
        raise InputError('the engine torch-compile needs a C++ compiler: install g++, or give --no-compile')


# Of --isa: what oneDNN, in OpenVINO and PyTorch, and the kernels in C are held to.
ISAS = {'avx2': 'AVX2', 'avx512': 'AVX512_CORE_BF16', 'amx': 'AVX512_CORE_AMX'}


def limit_isa(isa: str) -> None:
    """Hold this process to an instruction set, before any engine has run.

    Raises:
        InputError: the processor does not have it.
    """
    flags = machine()['instructions'].split()
    needed = {'avx2': 'avx2', 'avx512': 'avx512_vpopcntdq', 'amx': 'amx_int8'}[isa]
    if needed not in flags:
        raise InputError(f'--isa {isa}: this processor has no {needed}')
    os.environ |= {'ONEDNN_MAX_CPU_ISA': ISAS[isa], 'BIREAL_ISA': isa}


PACKAGES = ('torch', 'torchvision', 'openvino', 'nncf', 'onnxruntime', 'onnx', 'numpy')
# What decides which kernels run.
FLAGS = ('avx2', 'avx_vnni', 'avx512f', 'avx512_vnni', 'avx512_vpopcntdq', 'avx512_bf16', 'amx_bf16', 'amx_int8')
POOLS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')
# Per pixel of the batch: activations that one network on one engine keeps, and the most that making one takes at a time
# (int8 calibration). Measured with Bi-Real-50 at 800 x 1344, with a third more for safety.
KEPT_BYTES, WORKING_BYTES = 200, 2000


def pin_threads(threads: int) -> None:
    """Give torch ``threads`` threads, and through the environment every thread pool that a library opens later.

    OpenVINO and onnxruntime have their own number, which the sessions are given.

    Raises:
        InputError: the process may not use so many cores.
    """
    cores = len(os.sched_getaffinity(0))
    if not 1 <= threads <= cores:
        raise InputError(f'--threads {threads}: this process has {cores} cores; give 1 to {cores}')
    for name in POOLS:
        os.environ[name] = str(threads)
    torch.set_num_threads(threads)


def machine() -> dict[str, str]:
    """Processor, its instruction sets, and the versions of what runs on it; nothing that tells where or when."""
    lines = [line.partition(':') for line in _proc('cpuinfo')]
    facts = {key.strip(): value.strip() for key, _, value in lines if value}
    flags = set(facts.get('flags', '').split())
    found = {
        'cpu': facts.get('model name') or platform.processor() or platform.machine(),
        'instructions': ' '.join(flag for flag in FLAGS if flag in flags),
        'python': platform.python_version(),
    }
    if os.environ.get('BIREAL_ISA'):
        found['held to'] = os.environ['BIREAL_ISA']
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def energy(counters: Path = Path('/sys/class/powercap')) -> float | None:
    """Joules that the processors have spent since some start; None where the machine does not tell."""
    try:
        packages = [path for path in counters.glob('*rapl:*') if (path / 'name').read_text().startswith('package')]
        return sum(int((path / 'energy_uj').read_text()) for path in packages) / 1e6 if packages else None
    except OSError:  # root alone may read them on many machines
        return None


def check_memory(shape: Sequence[int], count: int) -> None:
    """Raise InputError if ``count`` networks on images ``(N, C, H, W)`` would not fit into the free memory."""
    batch, _, height, width = shape
    needed = (count * KEPT_BYTES + WORKING_BYTES) * batch * height * width
    free = next((1024 * int(line.split()[1]) for line in _proc('meminfo') if line.startswith('MemAvailable')), needed)
    if needed > free:
        raise InputError(
            f'--size {shape[2]} {shape[3]}: {count} networks at this size take about {needed / 2**30:.0f} GiB '
            f'and {free / 2**30:.0f} GiB are free; give fewer --sides and --engines, or a smaller shape'
        )


def _proc(name: str) -> list[str]:
    path = Path('/proc', name)
    return path.read_text().splitlines() if path.is_file() else []
