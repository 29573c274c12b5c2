"""Feature maps in 16 bits: their numbers are PyTorch's, kernels round what they store and nothing else, and networks
stay near.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.export.c.engine import CSession, export_c
from bireal_plugin.folding.fold import fold
from bireal_plugin.shipping.compare import both_sides, compare_layers
from bireal_plugin.shipping.limits import LAYER_LIMIT, REAL_LIMIT
from tests.export.c.compilers import TARGETS, needs_compiler
from tests.export.c.test_networks import Blocks, classifier
from tests.export.layer_grid import with_edges
from tests.export.real_layers import REAL_LAYERS, AllOfOneInput, Function, results
from tests.folding.test_fold import trained

DTYPES = dict(f16=torch.float16, bf16=torch.bfloat16)
PATTERNS = 2**16
# Threads, and the matrix unit of 1-bit convolutions, have nothing of their own about numbers.
NUMBERS = [name for name in TARGETS if name not in ('amx-emulated', 'avx2-openmp', 'clang-default')]
all_precisions = pytest.mark.parametrize('maps', DTYPES)


def near_ties(maps):
    """All numbers of the precision, the ties between neighbours, what is next to those, and some of any size."""
    numbers = torch.arange(PATTERNS).to(torch.uint16).view(DTYPES[maps]).float()
    ties = (numbers + numbers.roll(-1)) / 2
    infinity = torch.tensor(float('inf'))
    random = torch.randn(PATTERNS, generator=torch.Generator().manual_seed(0)) * 10 ** torch.linspace(-42, 38, PATTERNS)
    return torch.stack([numbers, ties, torch.nextafter(ties, infinity), torch.nextafter(ties, -infinity), random])


@all_precisions
@pytest.mark.parametrize('target', NUMBERS)
def test_numbers_are_those_of_pytorch_on_every_processor(target, maps, tmp_path):
    program = TARGETS[target].built(Path(__file__).with_name('run_half.c'), tmp_path, f'-DBR_MAPS=BR_{maps.upper()}')
    floats = near_ties(maps)
    done = subprocess.run(program, input=floats.numpy().tobytes(), capture_output=True, check=True).stdout
    read, copied = done[: 4 * PATTERNS], done[4 * PATTERNS : 6 * PATTERNS]
    patterns = torch.arange(PATTERNS).to(torch.uint16).view(DTYPES[maps])
    same(torch.from_numpy(np.frombuffer(read, np.float32).copy()), patterns.float())
    same(torch.from_numpy(np.frombuffer(copied, np.uint16).copy()).view(DTYPES[maps]), patterns)
    stored = torch.from_numpy(np.frombuffer(done[6 * PATTERNS :], np.uint16).copy()).view(DTYPES[maps])
    for row, (one_by_one, by_vectors) in zip(floats, stored.view(len(floats), 2, PATTERNS), strict=True):
        same(one_by_one, row.to(DTYPES[maps]))
        same(by_vectors, row.to(DTYPES[maps]))


def same(got, want):
    """Equal bits; any NaN for a NaN."""
    assert torch.equal(got.isnan(), want.isnan())
    kinds = {2: torch.int16, 4: torch.int32}[want.element_size()]
    assert torch.equal(got.nan_to_num().view(kinds), want.nan_to_num().view(kinds))


def run(net, x, folder, maps, **options):
    with CSession(export_c(net, folder / f'net_{maps}.c', x.shape, maps=maps, **options), threads=1) as session:
        return session(x)


SINGLE = [name for name, layer in REAL_LAYERS.items() if isinstance(layer, nn.Conv2d | nn.Upsample)]
SINGLE += [name for name in REAL_LAYERS if 'pool' in name] + ['mean', 'mean of channels', 'relu6', 'prelu', 'elu']


@needs_compiler
@all_precisions
def test_a_kernel_computes_in_float32_and_rounds_what_it_stores(maps, tmp_path):
    """Of numbers that the precision has, the result is the one of maps in float32, rounded once: equal bits."""
    torch.manual_seed(0)
    x = torch.randn(1, 6, 13, 10).to(DTYPES[maps]).float()
    net = AllOfOneInput([REAL_LAYERS[name] for name in SINGLE])
    for got, want in zip(run(net, x, tmp_path, maps), run(net, x, tmp_path, 'f32'), strict=True):
        same(torch.from_numpy(got), torch.from_numpy(want).to(DTYPES[maps]).float())


@needs_compiler
@all_precisions
def test_real_layers_in_8_bits_see_the_rounded_map(maps, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 21, 140).to(DTYPES[maps]).float()
    conv, calibration = nn.Conv2d(3, 20, 3, padding=1), [x.numpy()]
    (want,) = run(conv, x, tmp_path, 'f32', calibration=calibration)
    (got,) = run(conv, x, tmp_path, maps, calibration=calibration)
    same(torch.from_numpy(got), torch.from_numpy(want).to(DTYPES[maps]).float())


@needs_compiler
@pytest.mark.parametrize(('maps', 'near'), [('f16', 2e-3), ('bf16', 2e-2)])
def test_all_that_moves_numbers_works_on_small_ones_too(maps, near, tmp_path):
    wanted, outputs = results(lambda *where: run(*where, maps), tmp_path, 2, 13, 10)
    for name, want in wanted.items():
        np.testing.assert_allclose(outputs[name], want.numpy(), rtol=near, atol=near * 4, err_msg=name)


@needs_compiler
@all_precisions
@pytest.mark.parametrize('channels', [5, 16, 40])
def test_signs_are_those_of_the_stored_numbers(maps, channels, tmp_path):
    """A number that the precision rounds to 0 is +1."""
    layer = fold(nn.Sequential(BinaryConv2d(channels, 8, 3, padding=1, bias=False)), (1, channels, 6, 7))
    x = with_edges(1, channels, 6, 7)
    (got,) = run(nn.Sequential(Function(lambda x: x * 0.75), layer), x, tmp_path, maps)
    rounded = (x.to(DTYPES[maps]).float() * 0.75).to(DTYPES[maps]).float()
    same(torch.from_numpy(got), layer(rounded).to(DTYPES[maps]).float())


@needs_compiler
@all_precisions
@pytest.mark.parametrize('kind', ['blocks', 'react', 'bottleneck', 'plain'])
def test_every_layer_of_a_network_is_right_by_itself(kind, maps, tmp_path):
    torch.manual_seed(0)
    if kind == 'blocks':
        net, x = fold(trained(Blocks(20)), (1, 20, 6, 7)), torch.randn(4, 20, 6, 7)
    else:
        options = dict(react=dict(rsign=True, rprelu=True), bottleneck={}, plain=dict(structure='plain'))
        net = classifier(50 if kind == 'bottleneck' else 18, **options[kind])
        x = torch.randn(2, 3, 64, 64)
    path = export_c(net, tmp_path / 'net.c', x.shape, maps=maps)
    found = compare_layers(net, [x.numpy()], CSession.tap(path, both_sides, threads=1))
    assert found.layer_share < LAYER_LIMIT[maps]
    assert found.real_share < REAL_LIMIT[maps]


@needs_compiler
def test_memory_is_half(tmp_path):
    net = classifier(18)
    sizes = []
    for maps in ('f32', *DTYPES):
        with CSession(export_c(net, tmp_path / f'net_{maps}.c', (1, 3, 64, 64), maps=maps)) as session:
            sizes.append(session.workspace_size)
    assert sizes[1] == sizes[2] < 0.6 * sizes[0]  # sign maps are as large as before


def test_another_precision_is_told(tmp_path):
    with pytest.raises(InputError, match="feature maps in C are f32, f16, bf16, not 'f64'"):
        export_c(nn.ReLU(), tmp_path / 'net.c', (1, 3, 4, 4), maps='f64')
