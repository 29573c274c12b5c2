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
SANITIZED = ('-O0', '-fsanitize=address,undefined', '-fno-sanitize-recover=all')


class Target(NamedTuple):
    """A compiler, its flags, and the emulator that runs what it makes."""

    compiler: str
    flags: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()
    feature: str = ''  # of this machine's processor, in /proc/cpuinfo

    def built(self, source: Path, folder: Path, *flags: str) -> list[str]:
        """The command that runs what it makes of a source that includes kernels; skips a test that lacks the tools."""
        for program in (self.compiler, *self.emulator[:1]):
            if shutil.which(program) is None:
                pytest.skip(f'{program} is not installed')
        if self.feature and self.feature not in Path('/proc/cpuinfo').read_text():
            pytest.skip(f'this processor has no {self.feature}')
        program = folder / source.stem
        command = [self.compiler, *STRICT, f'-I{KERNELS}', *self.flags, *flags, str(source), '-o', str(program)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (made.returncode, made.stderr) == (0, '')
        return [*self.emulator, str(program)]


TARGETS = {
    'default': Target('gcc'),
    'avx512': Target('gcc', ('-DBR_ONLY=BR_AVX512',), feature='avx512_vpopcntdq'),
    'amx-emulated': Target('gcc', ('-DBR_ONLY=BR_AMX', '-DBR_EMULATE_AMX'), feature='avx512_vpopcntdq'),
    'avx2': Target('gcc', ('-DBR_ONLY=BR_AVX2',), feature='avx2'),
    'portable': Target('gcc', ('-DBR_ONLY=BR_PORTABLE',)),
    'sanitized': Target('gcc', SANITIZED),
    'avx2-sanitized': Target('gcc', ('-DBR_ONLY=BR_AVX2', *SANITIZED), feature='avx2'),
    'openmp': Target('gcc', ('-fopenmp',)),
    'clang': Target('clang', ('-O1',)),  # -O2 takes it three times as long as gcc
    'aarch64': Target('aarch64-linux-gnu-gcc', ('-static',), ('qemu-aarch64',)),
    'armv7': Target('arm-linux-gnueabihf-gcc', ('-static', '-mfpu=neon-vfpv4'), ('qemu-arm',)),
    'armv7-portable': Target('arm-linux-gnueabihf-gcc', ('-static', '-DBR_ONLY=BR_PORTABLE'), ('qemu-arm',)),
    'riscv64': Target('riscv64-linux-gnu-gcc', ('-static',), ('qemu-riscv64',)),
}
