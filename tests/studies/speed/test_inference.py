"""The inference benchmark: what it puts side by side, how it takes times, and what it makes of them."""

import json
import os
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bireal_plugin.errors import InputError
from bireal_plugin.export.c.engine import convert, export_c
from bireal_plugin.export.c.source import LAPS
from bireal_plugin.folding.fold import fold
from bireal_plugin.folding.layers import FoldedBinaryConv2d
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from bireal_plugin.studies.speed.c_profile import moved, products, profile_c
from bireal_plugin.studies.speed.engine_profile import (
    BINARY,
    ELEMENTWISE,
    KINDS,
    LINEAR,
    OTHER,
    POOLING,
    QUANTIZE,
    REAL_1X1,
    REAL_3X3,
    SIGN,
    STEM,
    Profile,
    ProfiledLayer,
    profile,
)
from bireal_plugin.studies.speed.engines import (
    OPENVINO,
    TIMED_ENGINES,
    check_memory,
    choose_engines,
    combinations,
    energy,
    limit_isa,
    machine,
    pin_threads,
)
from bireal_plugin.studies.speed.inference import (
    Comparison,
    Repetitions,
    Timing,
    benchmark,
    check_shape,
    measure,
    speed_up,
)
from bireal_plugin.studies.speed.networks import choose_sides, load_networks
from bireal_plugin.studies.speed.paper_rows import paper_rows, table_rows
from bireal_plugin.studies.speed.prepared import Forms, prepare
from bireal_plugin.studies.speed.report import Report, section
from bireal_plugin.training.config import load_config
from bireal_plugin.training.recipe import stage_model
from tests.export.c.compilers import needs_compiler

SHAPE = (1, 3, 64, 64)
NARROW = """
model = dict(
    type='BiRealClassifier',
    backbone=dict(type='BiRealResNet', depth=18, base_channels=32, out_indices=(3,)),
    num_classes=10,
)
"""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """The threads of other tests are theirs; variables that ``pin_threads`` sets are taken back."""
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
        monkeypatch.setenv(name, os.environ.get(name, '1'))
    before = torch.get_num_threads()
    pin_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'narrow.py'
    path.write_text(NARROW)
    return load_networks(str(path))


@pytest.fixture(scope='module')
def forms(networks, tmp_path_factory):
    torch.manual_seed(0)
    images = torch.randn(SHAPE)
    return {
        side: Forms(network, images, folder=tmp_path_factory.mktemp(side), threads=1)
        for side, network in networks.sides.items()
    }


@pytest.fixture(scope='module')
def result(networks):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as pin_threads does, but for the environment of whatever runs later
    try:
        return benchmark(
            networks,
            SHAPE,
            sides=['ours', 'twin', 'torchvision'],
            engines=['openvino-f32', 'torch'],
            threads=1,
            plan=Repetitions(rounds=3, repeats=2, warm_up=1),
        )
    finally:
        torch.set_num_threads(threads)


def arrays(outputs):
    """Outputs of a timed call as arrays: of torch a tensor, of openvino a mapping of results."""
    if not isinstance(outputs, (list, tuple)):
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else [outputs[i] for i in range(len(outputs))]
    return [np.asarray(output) for output in outputs]


def from_json(text):
    """The report that ``to_json`` wrote."""
    content = json.loads(text)
    results = []
    for result in content['results']:
        timings = [Timing(**{**timing, 'times_ms': tuple(timing['times_ms'])}) for timing in result['timings']]
        profiles = [
            Profile(**{**profile, 'layers': tuple(ProfiledLayer(**layer) for layer in profile['layers'])})
            for profile in result['profiles']
        ]
        real = result['real'] and Profile(
            **{**result['real'], 'layers': tuple(ProfiledLayer(**layer) for layer in result['real']['layers'])}
        )
        results.append(Comparison(result['model'], tuple(result['shape']), tuple(timings), tuple(profiles), real))
    return Report(content['machine'], content['threads'], Repetitions(**content['plan']), tuple(results))


# The sides


def test_a_depth_has_the_three_networks():
    sides = load_networks('18').sides
    assert list(sides) == ['ours', 'twin', 'torchvision']
    assert sum(isinstance(m, FoldedBinaryConv2d) for m in sides['ours'].modules()) == 16
    # The published number of parameters of ResNet-18.
    assert sum(p.numel() for p in sides['torchvision'].parameters()) == 11_689_512
    weights = [m.weight.numel() for m in sides['twin'].modules() if isinstance(m, nn.Conv2d)]
    theirs = [m.weight.numel() for m in sides['torchvision'].modules() if isinstance(m, nn.Conv2d)]
    assert sorted(weights) == sorted(theirs)


def test_a_depth_of_cifar_has_cifars_images_and_classes():
    networks = load_networks('20')
    assert (list(networks.sides), networks.size) == (['ours', 'twin'], (32, 32))
    with torch.no_grad():
        assert networks.sides['ours'](torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_no_side_is_in_training_mode(networks):
    assert not any(module.training for network in networks.sides.values() for module in network.modules())


@pytest.mark.parametrize(
    ('options', 'present'),
    [
        ("norm_cfg=dict(type='SyncBN'), num_stages=4, strides=[1, 2, 2, 2], style='pytorch'", True),
        ('rsign=True', True),
        ('base_channels=32', False),
        ("stem='cifar'", False),
        ('strides=[1, 2, 2, 1]', False),
        ('deep_stem=True', False),
    ],
)
def test_torchvision_is_there_where_it_has_the_same_size(tmp_path, options, present):
    (tmp_path / 'net.py').write_text(f"model = dict(type='BiRealResNet', depth=18, {options})")
    assert ('torchvision' in load_networks(str(tmp_path / 'net.py')).sides) == present


def test_of_a_detector_the_backbone_is_taken(tmp_path):
    path = tmp_path / 'detector.py'
    path.write_text("model = dict(type='RetinaNet', backbone=dict(type='BiRealResNet', depth=18), neck=dict())")
    sides = load_networks(str(path)).sides
    with torch.no_grad():
        shapes = {side: [tuple(y.shape) for y in network(torch.zeros(1, 3, 64, 96))] for side, network in sides.items()}
    assert shapes['ours'] == [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
    assert shapes['twin'] == shapes['torchvision'] == shapes['ours']


def test_of_a_recipe_the_stage_named_is_taken(tiny_config, tmp_path):
    torch.manual_seed(3)
    model = stage_model(load_config(str(tiny_config)), 'binary')
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    networks = load_networks(str(tiny_config), str(path), stage='binary', sized=True)
    assert networks.size == (16, 16)
    x = torch.randn(2, 1, 32, 32)
    assert networks.in_channels == 1
    assert torch.equal(networks.sides['ours'](x), fold(model)(x))


def test_of_a_recipe_the_last_stage_or_the_one_named_is_taken(tiny_config):
    assert load_networks(str(tiny_config)).sides.keys() == {'ours', 'twin'}  # the first stages could not be folded
    with pytest.raises(InputError, match='is not binary yet'):
        load_networks(str(tiny_config), stage='float')


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('work_dir = 1', 'has no model'),
        ("model = dict(type='BiRealClassifier', backbone=dict(type='ResNet', depth=18))", 'of type BiRealResNet'),
        (NARROW + "model['backbone']['weights'] = 'real'", 'is not binary yet'),
        (NARROW + "model['backbone']['depth'] = 19", 'depth'),
    ],
)
def test_a_config_without_a_bireal_network_is_told(tmp_path, text, sentence):
    (tmp_path / 'wrong.py').write_text(text)
    with pytest.raises(InputError, match=sentence):
        load_networks(str(tmp_path / 'wrong.py'))


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (('19',), 'no Bi-Real-19; the depths are 18, 34, 50, 101, 152'),
        (('absent.py',), 'absent.py does not exist'),
        (('18', 'net.pth'), 'need the config'),
    ],
)
def test_a_wrong_model_is_told(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        load_networks(*arguments)


# The engines


@pytest.mark.parametrize('engine', ['openvino-f32', 'onnxruntime', 'torch-channels-last'])
def test_the_float_twin_is_the_same_function_on_every_engine(forms, engine):
    want = forms['twin'].network(forms['twin'].images).detach().numpy()
    (got,) = arrays(prepare(engine, forms['twin']).run())
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ('side', 'engine', 'least'),
    [
        ('twin', 'openvino-bf16', 0.99),
        ('twin', 'openvino-int8', 0.98),
        ('ours', 'torch', 0.99999),
        # A sign in front of a rounding may flip, and cascades.
        pytest.param('ours', 'c-f32', 0.99, marks=needs_compiler),
        pytest.param('ours', 'torch-c', 0.99, marks=needs_compiler),
        pytest.param('ours', 'c-f16', 0.97, marks=needs_compiler),
        pytest.param('ours', 'c-bf16', 0.9, marks=needs_compiler),
        pytest.param('ours', 'c-int8', 0.9, marks=needs_compiler),
        ('ours', 'openvino-f32', 0.99),
        ('ours', 'onnxruntime', 0.99),
        ('ours', 'tflite', 0.99),
        ('ours', 'openvino-bf16', 0.9),
        ('ours', 'openvino-int8', 0.9),
    ],
)
def test_what_is_timed_computes_the_network(forms, side, engine, least):
    want = forms[side].network(forms[side].images).detach().numpy().ravel()
    (got,) = (output.ravel() for output in arrays(prepare(engine, forms[side]).run()))
    assert got @ want / np.sqrt((got @ got) * (want @ want)) > least


@pytest.mark.slow
def test_torch_compile_gives_the_same(tmp_path):
    torch.manual_seed(0)
    small = Forms(nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), folder=tmp_path, threads=1)
    want = small.network(small.images).detach().numpy()
    np.testing.assert_allclose(arrays(prepare('torch-compile', small).run())[0], want, rtol=1e-4, atol=1e-5)


def test_every_output_of_a_backbone_arrives(tmp_path):
    network = fold(BiRealResNet(18, base_channels=32, num_stages=2).eval())
    backbone = Forms(network, torch.randn(SHAPE), folder=tmp_path, threads=1)
    want = [tuple(y.shape) for y in backbone.network(backbone.images)]
    assert len(want) == 2
    for engine in ('openvino-f32', 'onnxruntime', 'torch'):
        assert [y.shape for y in arrays(prepare(engine, backbone).run())] == want


@pytest.mark.parametrize('engine', OPENVINO)
def test_ours_runs_by_popcount_and_the_twin_does_not(forms, engine):
    counts = {
        side: [op.get_type_name() for op in form.openvino_session(engine).model.get_ops()].count('BinaryConvolution')
        for side, form in forms.items()
    }
    assert counts == dict(ours=16, twin=0)


def test_our_files_are_small_and_the_twin_s_are_as_large_as_its_weights(forms):
    sizes = {side: prepare('openvino-f32', form).file_bytes for side, form in forms.items()}
    weights = 4 * sum(p.numel() for p in forms['twin'].network.parameters())
    assert weights < sizes['twin'] < 1.1 * weights
    assert sizes['ours'] < sizes['twin'] / 5


@pytest.mark.parametrize('threads', sorted({1, min(2, len(os.sched_getaffinity(0)))}))
@pytest.mark.parametrize('engine', ['openvino-f32', 'openvino-bf16', 'onnxruntime', 'torch'])
def test_the_engines_say_that_they_use_the_threads_given(forms, engine, threads):
    pin_threads(threads)
    given = Forms(nn.Conv2d(3, 4, 3).eval(), forms['twin'].images, folder=forms['twin'].folder, threads=threads)
    assert prepare(engine, given).threads == threads
    assert {os.environ[name] for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')} == {str(threads)}


def test_default_engines_are_all_but_slow_ones():
    assert set(TIMED_ENGINES) - set(choose_engines(None)) - {'openvino-bf16'} == {'c-f16', 'c-bf16', 'tflite'}
    assert 'torch-compile' not in choose_engines(None, without=['torch-compile'])


def test_engines_keep_their_order_whatever_order_they_are_asked_in():
    assert choose_engines(['torch', 'openvino-f32']) == ['openvino-f32', 'torch']


def test_sides_meet_only_engines_that_run_them():
    pairs = combinations(['ours', 'twin'], ['openvino-f32', 'torch-compile', 'tflite'])
    assert pairs == [
        ('ours', 'openvino-f32'),
        ('ours', 'tflite'),
        ('twin', 'openvino-f32'),
        ('twin', 'torch-compile'),
    ]


@pytest.mark.parametrize(
    ('package', 'engine'), [('nncf', 'openvino-int8'), ('onnxruntime', 'onnxruntime'), ('openvino', 'openvino-f32')]
)
def test_a_missing_package_is_told(monkeypatch, package, engine):
    monkeypatch.setitem(sys.modules, package, None)  # how Python itself marks what cannot be imported
    with pytest.raises(InputError, match=rf'needs the package {package}: pip install'):
        choose_engines([engine])


def test_a_missing_compiler_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    with pytest.raises(InputError, match='install g\\+\\+, or give --no-compile'):
        choose_engines(['torch-compile'])


@pytest.mark.parametrize(
    ('call', 'sentence'),
    [
        (lambda: choose_engines(['openvino']), "no engine 'openvino'; there are c-f32, c-f16, c-bf16, c-int8"),
        (lambda: choose_engines(['torch-compile'], without=['torch-compile']), 'no engine is left'),
        (lambda: choose_sides(['theirs']), "no side 'theirs'; there are ours"),
        (lambda: combinations(['ours'], ['torch-compile']), 'none of the engines torch-compile runs'),
        (lambda: pin_threads(0), '--threads 0'),
        (lambda: pin_threads(1 + len(os.sched_getaffinity(0))), 'this process has'),
        (lambda: check_memory((1, 3, 100_000, 100_000), 3), '3 networks at this size take about'),
        (lambda: Repetitions(rounds=0), '--rounds, --repeats and --warm-up'),
    ],
)
def test_mistakes_are_told(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()


@pytest.mark.parametrize(
    ('shape', 'sentence'),
    [
        ((1, 3, 0, 64), 'four numbers of 1 or more'),
        ((3, 64, 64), 'four numbers of 1 or more'),
        ((1, 4, 64, 64), 'takes images of 3 channels'),
        ((1, 3, 64, 31), 'at least 32 pixels'),
    ],
)
def test_a_wrong_shape_is_told(networks, shape, sentence):
    with pytest.raises(InputError, match=sentence):
        check_shape(shape, networks)


def test_wide_images_of_detectors_and_streets_are_taken(networks):
    assert check_shape((1, 3, 160, 608), networks) == (1, 3, 160, 608)
    assert check_shape((1, 3, 800, 1344), networks) == (1, 3, 800, 1344)
    check_memory((1, 3, 160, 608), 19)


# The times


def test_sides_take_turns_and_the_first_run_of_a_turn_is_not_timed():
    now, calls = [0.0], []

    def run(name, seconds):
        def function():
            # The first run after another side is ten times as slow.
            now[0] += seconds * (10 if calls[-1:] != [name] else 1)
            calls.append(name)

        return function

    runs = dict(ours=run('ours', 0.002), twin=run('twin', 0.015))
    times = measure(runs, Repetitions(rounds=2, repeats=3), clock=lambda: now[0])
    assert calls == (['ours'] * 4 + ['twin'] * 4) * 2
    assert {name: pytest.approx([ms] * 6) for name, ms in (('ours', 2), ('twin', 15))} == times


def test_a_long_run_is_a_turn_of_its_own():
    calls = []
    runs = dict(short=lambda: calls.append('short'), long=lambda: calls.append('long'))
    times = measure(runs, Repetitions(rounds=2, repeats=1), long={'long'})
    assert calls == ['short', 'short', 'long'] * 2
    assert {name: len(taken) for name, taken in times.items()} == dict(short=2, long=2)


def test_every_pair_has_all_its_times(result):
    assert [(t.side, t.engine) for t in result.timings] == [
        ('ours', 'openvino-f32'),
        ('ours', 'torch'),
        ('twin', 'openvino-f32'),
        ('twin', 'torch'),
    ]
    assert all(len(t.times_ms) == 6 and min(t.times_ms) > 0 and t.threads == 1 for t in result.timings)


# The profile


def test_the_profile_has_every_layer_of_the_network(result):
    (found,) = result.profiles
    kinds = found.kinds()
    assert [kinds[kind][0] for kind in (BINARY, SIGN, STEM, REAL_1X1)] == [16, 16, 1, 3]
    assert OTHER not in kinds
    assert kinds.keys() <= set(KINDS)


def test_kinds_of_layers_sum_to_the_profile_and_it_to_the_whole_call(networks, tmp_path):
    ours = Forms(networks.sides['ours'], torch.randn(1, 3, 128, 128), folder=tmp_path, threads=1)
    found = profile('openvino-f32', ours, runs=30, warm_up=3)
    assert sum(count for count, _ in found.kinds().values()) == len(found.layers)
    assert sum(ms for _, ms in found.kinds().values()) == pytest.approx(found.layers_ms)
    assert found.layers_ms < 1.05 * found.whole_ms
    # The fastest of many calls is one that nothing interrupted, and layers are most of it.
    run = prepare('openvino-f32', ours).run
    fastest = min(measure(dict(ours=run), Repetitions(rounds=50, repeats=1))['ours'])
    assert found.layers_ms > 0.7 * fastest


@pytest.mark.parametrize('engine', ['openvino-bf16', 'openvino-int8'])
def test_every_layer_has_a_kind_in_lower_precision_too(forms, engine):
    kinds = profile(engine, forms['ours'], runs=1, warm_up=1).kinds()
    assert (kinds[BINARY][0], kinds[SIGN][0], kinds[STEM][0]) == (16, 16, 1)
    assert OTHER not in kinds


def test_real_bottleneck_layers_are_told_apart(tmp_path):
    """Bi-Real-50 has 1-bit 3x3 and 1x1 convolutions, and real 1x1 ones where a stage begins."""
    net = fold(BiRealClassifier(BiRealResNet(50, base_channels=32, num_stages=2, out_indices=(1,)).eval(), 10))
    real = sum(isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) for m in net.modules())
    binary = sum(isinstance(m, FoldedBinaryConv2d) for m in net.modules())
    deep = Forms(net, torch.randn(SHAPE), folder=tmp_path, threads=1)
    kinds = profile('openvino-f32', deep, runs=1, warm_up=1).kinds()
    assert (kinds[BINARY][0], kinds[REAL_1X1][0], kinds[STEM][0]) == (binary, real, 1)


@needs_compiler
@pytest.mark.parametrize('engine', ['c-f32', 'c-f16', 'c-int8'])
def test_the_c_engine_tells_the_time_of_every_layer(forms, engine):
    found = profile_c(engine, forms['ours'], runs=5, warm_up=1)
    kinds = found.kinds()
    assert [kinds[kind][0] for kind in (BINARY, STEM, REAL_1X1, LINEAR)] == [16, 1, 3, 1]
    assert OTHER not in kinds
    assert all(layer.ms > 0 for layer in found.layers)
    assert 0.5 * found.whole_ms < found.layers_ms < found.whole_ms
    assert (QUANTIZE in kinds) == (engine == 'c-int8')


def test_a_layer_in_c_tells_its_products_on_the_image_and_the_bytes_that_it_moves():
    conv = nn.Conv2d(6, 8, (3, 2), stride=(2, 1), padding=(1, 1), dilation=(1, 2), groups=2)
    (call,) = convert(conv, (1, 6, 9, 7)).calls
    ones = torch.nn.functional.conv2d(
        torch.ones(1, 6, 9, 7), torch.ones_like(conv.weight), None, conv.stride, conv.padding, conv.dilation, 2
    )
    assert products(call) == int(ones.sum())
    # Weights lie in blocks of 16 outputs for each group.
    assert moved(call, 4) == 4 * (6 * 9 * 7 + ones.numel() + 2 * 16 * 3 * 6 + 8)


def test_exported_files_have_no_clock(forms, tmp_path):
    assert LAPS not in export_c(forms['ours'].network, tmp_path / 'net.c', SHAPE).read_text()


# The paper's rows


def invented(engine, **kinds):
    """A profile with one layer of each kind."""
    layers = tuple(ProfiledLayer(kind, 'type', 'kernel', kind, ms) for kind, ms in kinds.items())
    return Profile(engine, 1, sum(kinds.values()), layers)


REAL = invented('openvino-f32', **{REAL_3X3: 8.0, REAL_1X1: 0.5, STEM: 1.0, LINEAR: 0.25, POOLING: 0.25})
OURS = invented('c-f32', **{BINARY: 0.3, SIGN: 0.1, REAL_1X1: 0.25, STEM: 1.0, LINEAR: 0.25, ELEMENTWISE: 0.1})


def test_paper_rows_have_the_ratio_of_each_kind_and_of_all():
    rows = {row['layers']: row for row in table_rows([OURS], REAL)}
    cells = {name: (row['32 bits, openvino-f32'], row['1 bit, c-f32']) for name, row in rows.items()}
    assert cells == {
        '3x3 convolutions': ('8.000', '0.400 (20.0x)'),
        'downsampling': ('0.500', '0.250 (2.0x)'),
        'first layer': ('1.000', '1.000 (1.0x)'),
        'last layer': ('0.250', '0.250 (1.0x)'),
        'BatchNorm, additions': ('', '0.100'),
        'pooling': ('0.250', ''),
        'rest': ('', ''),
        'all': ('10.000', '2.000 (5.0x)'),
    }
    assert {name: row['paper, FPGA'] for name, row in rows.items() if row['paper, FPGA']} == {
        '3x3 convolutions': '15.8x',
        'all': '7.38x',
    }


@pytest.mark.parametrize('kind', KINDS)
def test_no_time_is_lost_between_the_rows(kind):
    rows = paper_rows(invented('c-f32', **{kind: 0.5, STEM: 2.0}))
    everything = rows.pop('all')
    assert sum(rows.values()) == everything


def test_the_report_has_them_where_downsampling_is_all_that_is_1x1(result):
    assert 'downsampling' in '\n'.join(section(result))
    counts = {'twin': (16, 3, 1), 'ours': (0, 3, 1)}
    for side, found in (('twin', result.real), ('ours', result.profiles[0])):
        kinds = found.kinds()
        assert tuple(kinds.get(kind, (0,))[0] for kind in (REAL_3X3, REAL_1X1, STEM)) == counts[side]
    deep = invented('openvino-f32', **{REAL_3X3: 8.0, STEM: 1.0})
    assert 'downsampling' not in '\n'.join(section(replace(result, real=deep)))


# The report


def cells(lines):
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if line.startswith('|')]


def test_the_table_is_that_of_the_raw_times():
    generator = np.random.default_rng(0)
    raw = {
        pair: generator.uniform(low, 2 * low, 21)
        for pair, low in {
            ('ours', 'openvino-f32'): 2,
            ('ours', 'openvino-int8'): 1,
            ('torchvision', 'openvino-f32'): 15,
            ('torchvision', 'openvino-int8'): 5,
            ('torchvision', 'torch'): 25,
        }.items()
    }
    timings = tuple(Timing(*pair, 1, 4_299_491, tuple(times), 0.8) for pair, times in raw.items())
    head, _, *rows = cells(section(Comparison('Bi-Real-18', (8, 3, 224, 224), timings, ())))
    rivals = ('openvino-int8', 'openvino-f32', 'torch')
    assert head[5:] == ['images/s', 'J/image', *(f'x torchvision {rival}' for rival in rivals), 'MB']
    for row, (pair, times) in zip(rows, raw.items(), strict=True):
        first, middle, third = np.percentile(times, [25, 50, 75])
        assert row == [
            *pair,
            f'{middle:.2f}',
            f'{first:.2f} to {third:.2f}',
            f'{min(times):.2f}',
            f'{8000 / middle:.0f}',
            '0.1000',
            *(f'{np.median(raw["torchvision", rival]) / middle:.1f}x' for rival in rivals),
            '4.30',
        ]


def test_an_instruction_set_holds_all_engines(monkeypatch):
    monkeypatch.setattr('bireal_plugin.studies.speed.engines.machine', lambda: dict(instructions='avx2 avx512f'))
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    limit_isa('avx2')
    assert (os.environ['ONEDNN_MAX_CPU_ISA'], os.environ['BIREAL_ISA']) == ('AVX2', 'avx2')
    with pytest.raises(InputError, match='--isa amx: this processor has no amx_int8'):
        limit_isa('amx')


def test_energy_is_that_of_all_packages(tmp_path):
    assert energy(tmp_path) is None
    for name, kind, microjoules in (('intel-rapl:0', 'package-0', 2_500_000), ('intel-rapl:1', 'package-1', 1_000_000)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / 'name').write_text(f'{kind}\n')
        (folder / 'energy_uj').write_text(f'{microjoules}\n')
    assert energy(tmp_path) == 3.5


def test_joules_of_the_timed_runs_of_every_turn(monkeypatch):
    counter = iter([1.0, 1.5, 2.0, 0.1, 3.0, 3.25])  # it starts again once
    monkeypatch.setattr('bireal_plugin.studies.speed.inference.energy', lambda: next(counter))
    spent = {'side': []}
    measure({'side': lambda: None}, Repetitions(rounds=3, repeats=2), spent=spent)
    assert spent == {'side': [0.5, 0.25]}


def test_without_torchvision_the_twin_is_the_reference(result):
    assert [(t.side, t.engine) for t in result.references] == [('twin', 'openvino-f32'), ('twin', 'torch')]
    assert [speed_up(t, t) for t in result.references] == [1, 1]


def test_the_json_file_holds_all_that_the_tables_show(result):
    report = Report(
        machine(), 1, Repetitions(3, 2, 1), (result, replace(result, model='again', profiles=(), real=None))
    )
    read = from_json(report.to_json())
    assert read == report
    assert read.markdown() == report.markdown()


def test_the_kinds_in_the_table_sum_to_all_layers(result):
    rows = [row for row in cells(section(result)) if len(row) == 2][2:]
    times = {kind: float(cell.split()[0]) for kind, cell in rows}
    whole, total = times.pop('the profiled call'), times.pop('all layers')
    assert sum(times.values()) == pytest.approx(total, abs=0.0006 * len(times))
    assert whole == pytest.approx(result.profiles[0].whole_ms, abs=0.001)


def test_the_report_says_on_what_and_not_when(result):
    text = Report(machine(), 1, Repetitions(), (result,)).to_json()
    assert torch.__version__.split('+')[0] in text
    assert not any(word in text for word in (os.uname().nodename, os.getcwd(), '"date', '"time"'))


def test_bars_are_as_long_as_the_medians(tmp_path):
    """Counted in the picture: pixels of either colour, of two bars that are four to one."""
    pytest.importorskip('matplotlib')
    from PIL import Image

    from bireal_plugin.studies.speed.chart import COLOURS, draw_result

    timings = (Timing('ours', 'torch', 1, 1, (10.0,) * 3), Timing('torchvision', 'torch', 1, 1, (40.0,) * 3))
    png, svg = draw_result(tmp_path, Comparison('Bi-Real-18', SHAPE, timings, ()))
    assert (png.name, svg.name) == ('bi-real-18_1x3x64x64.png', 'bi-real-18_1x3x64x64.svg')
    pixels = np.asarray(Image.open(png).convert('RGB'))
    # In the row through the middle of a bar; the legend is below both.
    lengths = {
        side: max((pixels == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(-1).sum(1))
        for side, colour in COLOURS.items()
    }
    assert lengths['torchvision'] / lengths['ours'] == pytest.approx(4, rel=0.03)
