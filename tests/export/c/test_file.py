"""The files net.c and net.h: for other compilers and processors, and what becomes of damaged ones."""

import ctypes
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.c.engine import CSession, export_c
from bireal_plugin.export.c.file import MARKER, read_c
from bireal_plugin.folding.fold import fold
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.export.c.compilers import SANITIZED, fastest, needs_compiler
from tests.export.forged import damaged
from tests.folding.test_fold import trained

SHAPE = (1, 3, 9, 8)
MEAN, STD = (120.5, 110.0, 101.25), (58.0, 57.0, 61.5)
STRICT = ['-Wall', '-Wextra', '-pedantic', '-Werror']
ZIG = [sys.executable, '-m', 'ziglang', 'cc']
COMPILERS = {
    'gcc': ['gcc', '-O2'],
    'gcc of gnu11': ['gcc', '-std=gnu11'],
    'openmp': ['gcc', '-fopenmp'],
    'clang': ['clang'],
    'zig': ZIG,
    'wasm32': [*ZIG, '-target', 'wasm32-wasi', '-msimd128'],
    'aarch64': ['aarch64-linux-gnu-gcc'],
    'armv7': ['arm-linux-gnueabihf-gcc', '-mfpu=neon'],
    'riscv64': ['riscv64-linux-gnu-gcc'],
    'cortex-m4': ['arm-none-eabi-gcc', '-mcpu=cortex-m4', '-mthumb'],
    'cortex-m7': ['arm-none-eabi-gcc', '-mcpu=cortex-m7', '-mthumb'],
}
EMULATED = {
    'sanitized': (['gcc', '-DBR_ONLY=BR_PORTABLE', *SANITIZED], []),
    'aarch64': (['aarch64-linux-gnu-gcc', '-O1', '-static'], ['qemu-aarch64']),
    'armv7': (['arm-linux-gnueabihf-gcc', '-O1', '-static', '-mfpu=neon'], ['qemu-arm']),
    'riscv64': (['riscv64-linux-gnu-gcc', '-O1', '-static'], ['qemu-riscv64']),
}


def present(*programs):
    for program in programs:
        if program == sys.executable and importlib.util.find_spec('ziglang') is None:
            pytest.skip('ziglang is not installed')
        if shutil.which(program) is None:
            pytest.skip(f'{program} is not installed')


def network():
    """Every kernel, and every kind of copy."""
    torch.manual_seed(0)
    return fold(
        nn.Sequential(
            nn.Conv2d(3, 20, 3, padding=1),
            BinaryConv2d(20, 12, 3, stride=2, padding=1),
            nn.PReLU(),
            nn.ReflectionPad2d(1),
            BinaryConv2d(12, 6, 1, groups=2),
            nn.Sigmoid(),
            nn.Upsample(scale_factor=2),
            nn.Upsample((11, 13), mode='bilinear'),
            nn.MaxPool2d(3, 2, 1),
            nn.AvgPool2d(2),
            nn.Softmax(1),
        ),
        SHAPE,
    )


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    return export_c(network(), tmp_path_factory.mktemp('c') / 'net.c', SHAPE, mean=MEAN, std=STD)


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    """A network as the one of the digits, with images and what torch predicts."""
    torch.manual_seed(0)
    net = trained(
        BiRealClassifier(BiRealResNet(18, base_channels=8, in_channels=1, stem='cifar', out_indices=(3,)), 10)
    )
    x = torch.randn(6, 1, 32, 32)
    net = fold(net, x.shape)
    return export_c(net, tmp_path_factory.mktemp('digits') / 'net.c', (2, *x.shape[1:])), x, net(x).numpy()


@pytest.mark.parametrize('name', COMPILERS)
def test_no_compiler_has_a_warning(name, written, tmp_path):
    command = COMPILERS[name]
    present(command[0])
    what = ['-c', '-o', str(tmp_path / 'net.o')] if name in ('gcc', 'zig', 'wasm32') else ['-fsyntax-only']
    made = [*command, *([] if name == 'gcc of gnu11' else ['-std=c11']), *STRICT, *what, str(written)]
    done = subprocess.run(made, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, '')


@pytest.mark.parametrize('name', ['g++', 'clang++'])
def test_the_header_is_for_cpp_too(name, written):
    present(name)
    command = [
        name,
        '-Wall',
        '-Wextra',
        '-pedantic',
        '-Werror',
        '-fsyntax-only',
        '-x',
        'c++',
        written.with_suffix('.h'),
    ]
    assert subprocess.run(command, check=False).returncode == 0


def built(path, command, emulator, folder):
    """The command that runs the file ``path``, made by another command."""
    present(command[0], *emulator)
    source, program = Path(__file__).with_name('run_network.c'), folder / 'program'
    made = [*command, '-std=c11', *STRICT, f'-I{path.parent}', str(path), str(source), '-o', str(program)]
    subprocess.run(made, check=True)
    return [*emulator, program]


def ran(program, data, *arguments):
    done = subprocess.run([*program, *arguments], input=data.tobytes(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b'')
    return np.frombuffer(done.stdout, np.float32)


@pytest.fixture(scope='module')
def sanitized(written, tmp_path_factory):
    """``written`` with the kernels of this processor, each step of which is checked."""
    return built(written, ['gcc', *fastest(), *SANITIZED], [], tmp_path_factory.mktemp('sanitized'))


@pytest.mark.parametrize(
    ('name', 'maps'), [('aarch64', 'f16'), ('aarch64', 'bf16'), ('armv7', 'bf16'), ('riscv64', 'f16')]
)
def test_small_feature_maps_are_the_same_on_other_processors(name, maps, tmp_path):
    path, x = export_c(network(), tmp_path / 'net.c', SHAPE, maps=maps), torch.randn(SHAPE)
    got = ran(built(path, *EMULATED[name], tmp_path), x.numpy())
    with CSession(path, threads=1) as session:
        (want,) = session(x)
    np.testing.assert_allclose(got, want.reshape(-1), atol=1e-2 * np.abs(want).max())


@pytest.mark.parametrize('name', EMULATED)
def test_a_digits_network_predicts_as_torch_on_other_processors(name, digits, tmp_path):
    path, x, want = digits
    got = ran(built(path, *EMULATED[name], tmp_path), x.numpy()).reshape(want.shape)
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


def test_every_kernel_is_clean_under_sanitizers(sanitized):
    x = torch.randn(SHAPE)
    np.testing.assert_allclose(ran(sanitized, x.numpy()), network()(x).numpy().reshape(-1), atol=1e-5)


def test_bytes_are_normalised_inside(sanitized):
    image = np.random.default_rng(0).integers(0, 256, (1, 9, 8, 3), np.uint8)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))
    want = network()((torch.from_numpy(image).permute(0, 3, 1, 2).float() - mean) / std)
    np.testing.assert_allclose(ran(sanitized, image, 'bytes'), want.numpy().reshape(-1), atol=1e-5)


@needs_compiler
def test_null_and_misaligned_pointers_have_codes(written):
    with CSession(written, threads=1) as session:
        run = session.function
        memory = (ctypes.c_char * (session.workspace_size + 128))()
        place = ctypes.addressof(memory)
        aligned = place + -place % 64
        floats = (ctypes.c_float * 2000)()
        address = ctypes.addressof(floats)
        codes = [
            run(*pointers)
            for pointers in (
                (address, address + 4000, aligned),
                (None, address, aligned),
                (address, None, aligned),
                (address, address, None),
                (address, address, aligned + 16),
            )
        ]
    assert codes == [0, 1, 1, 1, 2]


def test_the_header_tells_sizes_and_statistics(written):
    text = written.with_suffix('.h').read_text()
    for line in (
        'NET_IMAGES 1',
        'NET_INPUT_CHANNELS 3',
        'NET_INPUT_ROWS 9',
        'NET_INPUT_COLUMNS 8',
        'NET_OUTPUT0_SHAPE {1, 6, 3, 3}',
        'NET_OUTPUT_FLOATS 54',
        'NET_MEAN {120.5f, 110.0f, 101.25f}',
        'NET_STD {58.0f, 57.0f, 61.5f}',
    ):
        assert f'#define {line}\n' in text
    assert text in written.read_text()


@pytest.mark.parametrize(
    'metadata', [dict(preparation='{"mean": [1, 2, 3], "std": [4, 5, 6]}'), dict(other='[1]', text='no JSON')]
)
def test_statistics_are_those_of_the_metadata(metadata, tmp_path):
    path = export_c(nn.ReLU(), tmp_path / 'net.c', SHAPE, metadata=metadata)
    assert ('net_run_u8' in path.read_text()) == ('preparation' in metadata)


@pytest.mark.parametrize(
    ('given', 'sentence'),
    [
        (dict(mean=[1, 2, 3]), 'give mean and std together'),
        (dict(mean=[1, 2], std=[3, 4]), 'not numbers for each of 3 channels'),
        (dict(mean=[1, 2, 3], std=[1, 0, 1]), 'not numbers for each of 3 channels'),
    ],
)
def test_wrong_statistics_are_told(given, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        export_c(nn.ReLU(), tmp_path / 'net.c', SHAPE, **given)


@needs_compiler
def test_texts_may_hold_what_ends_comments(tmp_path):
    texts = dict(a='*/ /* // \\ ??/', b='ü\n"', c='bireal')
    path = export_c(nn.ReLU(), tmp_path / 'net.c', SHAPE, metadata=texts)
    with CSession(path, threads=1) as session:
        assert session.metadata == texts
        assert session(-np.ones(SHAPE))[0].sum() == 0


@pytest.mark.parametrize('name', ['2nd', 'my-net', 'my net', 'nät', '_net', 'a' * 61, 'net\udcff', '', 'br', 'BR_net'])
def test_a_name_that_is_no_identifier_is_told(name, tmp_path):
    with pytest.raises(InputError, match='the functions in the file are named after it'):
        export_c(nn.ReLU(), tmp_path / f'{name}.c', SHAPE)
    assert list(tmp_path.iterdir()) == []


@needs_compiler
@pytest.mark.parametrize('name', ['bireal', 'brick', 'main', 'int', 'kernels', 'memcpy', 'NULL'])
def test_any_other_name_compiles(name, tmp_path):
    path = export_c(nn.ReLU(), tmp_path / f'{name}.c', SHAPE)
    with CSession(path, threads=1) as session:
        assert session(-np.ones(SHAPE))[0].sum() == 0


def test_functions_have_the_name_of_the_file(tmp_path):
    text = export_c(nn.ReLU(), tmp_path / 'Mine2.c', SHAPE).with_suffix('.h').read_text()
    assert 'int Mine2_run(' in text
    assert '#define MINE2_IMAGES 1' in text


def test_maps_beyond_what_kernels_count_are_told(tmp_path):
    with pytest.raises(InputError, match='has 4294967296 elements; kernels in C count'):
        export_c(nn.Upsample(scale_factor=2**15), tmp_path / 'net.c', (1, 1, 2, 2))


def test_equal_networks_give_equal_files(written, tmp_path):
    again = export_c(network(), tmp_path / 'net.c', SHAPE, mean=MEAN, std=STD)
    assert again.read_bytes() == written.read_bytes()


def test_a_thousand_mutations_are_all_refused(written, tmp_path):
    """Nothing in the file is followed."""
    path = tmp_path / 'net.c'
    for data in damaged(written.read_bytes(), MARKER):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r'did not write|checksum does not match'):
            read_c(path)


@pytest.mark.parametrize(
    'content', [b'', b'int main(void) { return 0; }\n', b'\xff\xfe', MARKER + b'0' * 64 + b'\n{}\n']
)
def test_a_file_of_another_origin_is_refused(content, tmp_path):
    path = tmp_path / 'net.c'
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'net\.c (is truncated, or C that|was changed)'):
        CSession(path)


def test_the_first_comment_is_json_for_other_programs(written):
    lines = written.read_text().splitlines()
    about = json.loads(lines[2])
    assert (about['name'], about['images'], about['image'], about['outputs']) == ('net', 1, [3, 9, 8], [[6, 3, 3]])
