"""C compilers of this machine and of others: whether they are there, and what they build."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from bireal_plugin.c_compiler import chosen
from bireal_plugin.errors import InputError
from bireal_plugin.export.c import layout


def compiler_is_missing():
    try:
        chosen()
    except InputError as error:
        return str(error)
    return ''


needs_compiler = pytest.mark.skipif(bool(compiler_is_missing()), reason=compiler_is_missing() or 'present')

KERNELS = Path(layout.__file__).parent / 'kernels'
STRICT = ('-std=c11', '-O2', '-Wall', '-Wextra', '-pedantic', '-Werror')
CPU = Path('/proc/cpuinfo').read_text() if Path('/proc/cpuinfo').is_file() else ''
AVX512, AVX2 = 'avx512_vpopcntdq', 'avx2'


def fastest() -> tuple[str, ...]:
    """The flag that leaves those kernels which this processor is given; compiling all takes twice as long."""
    found = (isa for feature, isa in (('amx_int8', ''), (AVX512, 'AVX512'), (AVX2, 'AVX2')) if feature in CPU.split())
    isa = next(found, '')
    return (f'-DBR_ONLY=BR_{isa}',) if isa else ()


SANITIZED = ('-O0', '-fsanitize=address,undefined', '-fno-sanitize-recover=all')
THREADS = ('env', 'OMP_NUM_THREADS=3', 'OMP_WAIT_POLICY=passive')


class Target(NamedTuple):
    """A compiler, its flags, and the emulator or other program that runs what it makes."""

    compiler: str
    flags: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()
    feature: str = ''  # of this machine's processor, in /proc/cpuinfo

    def built(self, source: Path, folder: Path, *flags: str) -> list[str]:
        """The command that runs what it makes of a source that includes kernels; skips a test that lacks the tools."""
        for program in (self.compiler, *self.emulator[:1]):
            if shutil.which(program) is None:
                pytest.skip(f'{program} is not installed')
        if self.feature and self.feature not in CPU.split():
            pytest.skip(f'this processor has no {self.feature}')
        program = folder / source.stem
        command = [self.compiler, *STRICT, f'-I{KERNELS}', *self.flags, *flags, str(source), '-o', str(program)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (made.returncode, made.stderr) == (0, '')
        return [*self.emulator, str(program)]


TARGETS = {
    'default': Target('gcc', ('-O0',)),  # all kernels, and the choice; those of one instruction set are optimised
    'avx512': Target('gcc', ('-DBR_ONLY=BR_AVX512',), feature=AVX512),
    'amx-emulated': Target('gcc', ('-fopenmp', '-DBR_ONLY=BR_AMX', '-DBR_EMULATE_AMX'), THREADS, feature=AVX512),
    'avx2': Target('gcc', ('-DBR_ONLY=BR_AVX2',), feature=AVX2),
    'avx2-openmp': Target('gcc', ('-fopenmp', '-DBR_ONLY=BR_AVX2'), THREADS, feature=AVX2),
    'portable': Target('gcc', ('-DBR_ONLY=BR_PORTABLE',)),
    'sanitized': Target('gcc', (*fastest(), *SANITIZED)),
    'avx2-sanitized': Target('gcc', ('-DBR_ONLY=BR_AVX2', *SANITIZED), feature=AVX2),
    'clang': Target('clang', (*fastest(), '-O1')),  # -O2 takes it three times as long as gcc
    'clang-default': Target('clang', ('-O0',)),
    'aarch64': Target('aarch64-linux-gnu-gcc', ('-static',), ('qemu-aarch64',)),
    'armv7': Target('arm-linux-gnueabihf-gcc', ('-static', '-mfpu=neon-vfpv4'), ('qemu-arm',)),
    'armv7-portable': Target('arm-linux-gnueabihf-gcc', ('-static', '-DBR_ONLY=BR_PORTABLE'), ('qemu-arm',)),
    'riscv64': Target('riscv64-linux-gnu-gcc', ('-static',), ('qemu-riscv64',)),
}
