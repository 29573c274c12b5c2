"""The machine's C compiler: found, called, and its results kept in the user's cache folder by their content."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bireal_plugin.errors import InputError, check_choice
from bireal_plugin.whole_file import whole

INCLUDE = re.compile(r'^#include "([\w.]+)".*\n', re.MULTILINE)
GUARD = re.compile(r'\s*(?:/\*.*?\*/\s*)?#ifndef (\w+)\n#define \1\n', re.DOTALL)
FLAGS = ('-std=c11', '-fPIC', '-ffp-contract=off', '-Wno-psabi')
# Values of the variable BIREAL_ISA, which leaves the C kernels one instruction set.
ISAS = ('portable', 'avx2', 'avx512', 'amx', 'neon')
NO_COMPILER = (
    'a .c file runs through a C compiler and there is none: install gcc or clang, name one in the variable CC, or '
    '`pip install ziglang`'
)


@cache
def compiler(named: str | None, path: str) -> tuple[str, ...]:
    """The command of a C compiler: ``CC``, cc, gcc, clang or zig, the first that there is.

    Args:
        named, path: the variables CC and PATH.

    Raises:
        InputError: there is none, or CC names none.
    """
    if named:
        command = shlex.split(named)
        if not command or shutil.which(command[0], path=path) is None:
            raise InputError(f'CC={named} is no program; name a C compiler in it, or unset it')
        return tuple(command)
    for name in ('cc', 'gcc', 'clang'):
        if shutil.which(name, path=path) is not None:
            return (name,)
    if shutil.which('zig', path=path) is not None:
        return ('zig', 'cc')
    if find_spec('ziglang') is not None:
        return (sys.executable, '-m', 'ziglang', 'cc')
    raise InputError(NO_COMPILER)


def chosen() -> tuple[str, ...]:
    """The compiler that this process finds."""
    return compiler(os.environ.get('CC'), os.environ.get('PATH', os.defpath))


@cache
def version(command: tuple[str, ...]) -> str:
    """The first lines that a compiler says of itself."""
    return _run([*command, '--version']).stdout


@cache
def has_openmp(command: tuple[str, ...]) -> bool:
    """Whether a compiler has OpenMP and what programs with it need."""
    with tempfile.TemporaryDirectory(prefix='bireal_') as folder:
        source = Path(folder, 'threads.c')
        source.write_text('#include <omp.h>\nint threads(void) { return omp_get_max_threads(); }\n')
        made = [*command, '-fopenmp', '-fPIC', '-shared', str(source), '-o', str(Path(folder, 'threads.so'))]
        return _run(made).returncode == 0


def cache_folder() -> Path:
    """The folder of compiled files, made if it is missing.

    Raises:
        InputError: it cannot be made.
    """
    root = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    folder = Path(root, 'bireal', 'c')
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise InputError(
            f'compiled networks are kept in {folder}, which cannot be written ({error.strerror}); set XDG_CACHE_HOME'
        ) from error


def built(text: str, flags: Sequence[str], *, suffix: str, name: str, objects: Sequence[Path] = ()) -> Path:
    """A compiled C text in the cache; compiled where it is not there yet, by any number of processes at once.

    Args:
        suffix: .o or .so. name: of the source, for the sentence. objects: to link, from the cache too.

    Raises:
        InputError: there is no compiler, or it fails; with its first error.
    """
    command, flags = chosen(), [*flags, *_limited()]
    told = [*command, version(command), *FLAGS, *flags, _processor(), *(path.name for path in objects), text]
    path = cache_folder() / f'{hashlib.sha256(chr(0).join(told).encode()).hexdigest()}{suffix}'
    if path.is_file():
        return path
    with tempfile.TemporaryDirectory(prefix='bireal_') as folder, whole(path) as partial:
        source = Path(folder, 'network.c')
        source.write_text(text, encoding='ascii')
        last = ['-c'] if suffix == '.o' else ['-shared', *map(str, objects)]
        done = _run([*command, *FLAGS, *flags, str(source), *last, '-o', str(partial)])
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if 'error' in line.lower()] or done.stderr.splitlines()
            said = lines[0].replace(str(source), name) if lines else f'status {done.returncode}'
            raise InputError(f'{shlex.join(command)} cannot compile {name}: {said}')
    return path


def _limited() -> list[str]:
    """The flag that leaves one instruction set, if BIREAL_ISA names one."""
    isa = os.environ.get('BIREAL_ISA')
    if not isa:
        return []
    check_choice('the environment', 'BIREAL_ISA', isa, ISAS)
    return [f'-DBR_ONLY=BR_{isa.upper()}']


@cache
def _processor() -> str:
    """Instruction sets of this processor, as a key of compiled code: machines of several kinds may share a cache."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line for line in lines if line.startswith(('flags', 'Features'))), '') + platform.machine()


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, 'LC_ALL': 'C'}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors='replace', env=environment, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise InputError(f'{command[0]} cannot be started: {error.strerror}; {NO_COMPILER}') from error


def library(source: Path) -> ctypes.CDLL:
    """A C file of this package, with those that it includes, compiled and loaded; its loops share PyTorch's threads.

    Raises:
        InputError: there is no compiler, or it fails.
    """
    text = joined(source)
    for parallel in (['-fopenmp'], []):
        flags = ['-O3', '-march=native', *parallel]
        try:
            # The runtime of OpenMP is not linked: that of PyTorch is in the process, with the threads that it set.
            objects = built(text, flags, suffix='.o', name=source.name)
            return ctypes.CDLL(str(built('', [], suffix='.so', name=source.name, objects=[objects])))
        except (OSError, InputError) as error:
            reason = error
    raise InputError(f'{source.name} does not run here: {reason}')


def joined(source: Path, known: set[str] | None = None) -> str:
    """A C text with the files beside it that it includes in their places.

    Args:
        known: guards of headers that are there already and are left out; those of this text are added.
    """
    known = set() if known is None else known
    text = source.read_text(encoding='ascii')
    guard = GUARD.match(text)
    if guard is not None and guard[1] in known:
        return ''
    known.update(() if guard is None else [guard[1]])
    return INCLUDE.sub(lambda found: joined(source.with_name(found[1]), known), text)
