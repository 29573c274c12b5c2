"""The machine that a benchmark runs on: its threads pinned, its facts for the report, its memory."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from bireal_plugin.errors import InputError

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
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


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
