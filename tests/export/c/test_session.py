"""Sessions of C files: found compilers, the cache of what they made, threads and batches."""

import numpy as np
import pytest
import torch
from torch import nn

from bireal_plugin import c_compiler as compiler
from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.c.engine import CSession, export_c
from bireal_plugin.folding.fold import fold
from tests.export.c.compilers import needs_compiler
from tests.folding.test_fold import trained
from tests.warm import Python

SHAPE = (1, 3, 16, 18)


@pytest.fixture(scope='module')
def net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 40, 3, padding=1), BinaryConv2d(40, 40, 3, padding=1), nn.BatchNorm2d(40), nn.MaxPool2d(2)]
    return fold(trained(nn.Sequential(*layers, BinaryConv2d(40, 20, 1), nn.Sigmoid())), SHAPE)


@pytest.fixture(scope='module')
def path(net, tmp_path_factory):
    return export_c(net, tmp_path_factory.mktemp('session') / 'net.c', SHAPE)


def script(folder, name, text):
    program = folder / name
    program.write_text(f'#!/bin/sh\n{text}\n')
    program.chmod(0o755)
    return program


@needs_compiler
def test_the_bits_are_the_same_with_any_number_of_threads(path):
    x = torch.randn(3, *SHAPE[1:])
    outputs = [CSession(path, threads=threads)(x)[0] for threads in (1, 2, 3, None)]
    assert all(np.array_equal(output, outputs[0]) for output in outputs)


@needs_compiler
@pytest.mark.parametrize('batch', [1, 2, 3, 5])
def test_any_batch_size_is_run_in_pieces_of_the_files(batch, net, tmp_path):
    x = torch.randn(batch, *SHAPE[1:])
    with CSession(export_c(net, tmp_path / 'net.c', (2, *SHAPE[1:])), threads=1) as session:
        (got,) = session(x)
        singles = [session(x[i : i + 1])[0] for i in range(batch)]
    assert np.array_equal(got, np.concatenate(singles))
    np.testing.assert_allclose(got, net(x).numpy(), atol=1e-5)


@needs_compiler
def test_the_header_is_not_needed(path, tmp_path):
    (tmp_path / 'moved.c').write_bytes(path.read_bytes())
    x = torch.randn(SHAPE)
    assert np.array_equal(CSession(tmp_path / 'moved.c', threads=1)(x)[0], CSession(path, threads=1)(x)[0])


def test_a_machine_without_a_compiler_is_told(path, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CC', raising=False)
    monkeypatch.setattr(compiler, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match=r'there is none: install gcc or clang, name one in the variable CC, or .*zig'):
        CSession(path)


@pytest.mark.parametrize('named', ['/nowhere/cc', 'no_compiler -O3'])
def test_a_variable_that_names_no_program_is_told(named, path, monkeypatch):
    monkeypatch.setenv('CC', named)
    with pytest.raises(InputError, match=f'CC={named} is no program'):
        CSession(path)


def test_what_a_compiler_says_is_told_by_its_first_error(path, tmp_path, monkeypatch):
    text = 'echo a.c:1: warning: strange >&2; for last; do :; done; echo "a.c:2:5: error: unknown type" >&2; exit 1'
    monkeypatch.setenv('CC', str(script(tmp_path, 'cc', text)))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    with pytest.raises(InputError, match=r'cc cannot compile net\.c: a\.c:2:5: error: unknown type$'):
        CSession(path)
    assert list((tmp_path / 'bireal' / 'c').iterdir()) == []


def test_a_cache_that_cannot_be_written_is_told(path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/proc/nowhere')
    with pytest.raises(InputError, match=r'kept in /proc/nowhere/bireal/c, which cannot be written .*XDG_CACHE_HOME'):
        CSession(path)


@needs_compiler
def test_a_file_is_compiled_once_and_its_kernels_once_for_all_files(path, net, tmp_path, monkeypatch):
    real, log = compiler.chosen()[0], tmp_path / 'log'
    wrapper = script(tmp_path, 'cc', f'echo "$@" >> {log}\nexec {real} "$@"')
    monkeypatch.setenv('CC', f'{wrapper} -DBR_ONLY=BR_PORTABLE')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    other = export_c(nn.ReLU(), tmp_path / 'other.c', SHAPE)
    made = []
    for source in (path, path, other, other):
        CSession(source, threads=1)(np.zeros(SHAPE))
        made.append(sum('-o ' in line for line in log.read_text().splitlines()))
    assert made == [2, 2, 3, 3]
    assert (tmp_path / 'bireal' / 'c').stat().st_mode & 0o777 == 0o700


@needs_compiler
def test_processes_that_compile_at_once_are_all_right(path, tmp_path):
    program = (
        'import sys, numpy as np; from bireal_plugin.export.c.engine import CSession; '
        f'print(float(CSession(sys.argv[1], threads=1)(np.full({SHAPE}, 0.5))[0].sum()))'
    )
    variables = dict(XDG_CACHE_HOME=str(tmp_path), CC=f'{" ".join(compiler.chosen())} -DBR_ONLY=BR_PORTABLE')
    both = [Python(['-c', program, path], **variables) for _ in range(2)]
    answers = {python.ended().out for python in both}
    assert len(answers) == 1
    want = CSession(path, threads=1)(np.full(SHAPE, 0.5))[0].sum()
    np.testing.assert_allclose(float(answers.pop()), want, rtol=1e-6)
    assert len(list((tmp_path / 'bireal' / 'c').iterdir())) == 2
