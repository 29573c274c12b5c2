"""The best checkpoint of a run, copied elsewhere under another name, is tested, exported and verified as what it is."""

import json
import shutil

import pytest
import torch

from tests.commands.test_export import rows
from tests.conftest import REPOSITORY

# A network so small that it trains in seconds; the data set, its size and the network's kind are the shipped config's.
SMALL = {
    'bireal_r18_digits': '_base_ = {tiny!r}',
    'bireal_r18_fashion_mnist': """
_base_ = '{repository}/configs/bireal_r18_fashion_mnist.py'
model = dict(backbone=dict(base_channels=4))
data_root = '{data}/fashion-mnist'
train_dataloader = dict(batch_size=50, dataset=dict(root=data_root, subset=400))
val_dataloader = dict(batch_size=100, dataset=dict(root=data_root, subset=200))
test_dataloader = dict(batch_size=100, dataset=dict(root=data_root, subset=200))
stages = dict(
    float=dict(train_cfg=dict(max_epochs=1)),
    leaky_clip=dict(train_cfg=dict(max_epochs=1)),
    clip=dict(train_cfg=dict(max_epochs=1)),
    binary=dict(train_cfg=dict(max_epochs=2)),
    bn=dict(train_cfg=dict(max_epochs=1)),
)
""",
}
SIZES = {'bireal_r18_digits': (16, 16), 'bireal_r18_fashion_mnist': (28, 28)}
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module', params=SMALL)
def moved(request, run_tool, as_run, tiny_config, tmp_path_factory):
    """Name of the shipped config, config, best checkpoint of the stage ``binary`` elsewhere, and its accuracy in %."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    config = folder / 'small.py'
    if name == 'bireal_r18_digits':
        run = request.getfixturevalue('finished_run')
        config = tiny_config
    else:
        data = request.getfixturevalue('shared_data')
        config.write_text(SMALL[name].format(repository=REPOSITORY, data=data))
        run = as_run(folder / 'run', run_tool('train.py', config, '--work-dir', folder / 'run'))
    (best,) = (run.folder / 'binary').glob('best_*.pth')
    away = folder / 'float' / 'net.pth'  # a folder that is called after another stage
    away.parent.mkdir()
    shutil.copy(best, away)
    epoch = int(best.stem.rpartition('_')[2])
    row = next(row for row in run.results if row['name'] == 'binary')
    scalars = [json.loads(line) for file in (run.folder / 'binary').rglob('scalars.json') for line in file.open()]
    accuracy = next(line['accuracy/top1'] for line in scalars if line.get('step') == epoch and 'accuracy/top1' in line)
    assert accuracy >= row['top1']
    return name, config, away, accuracy


@pytest.mark.parametrize('given', [True, False], ids=['with config', 'without'])
def test_it_tests_exports_and_verifies_at_its_own_accuracy(run_tool, run_command, moved, tmp_path, given):
    name, config, checkpoint, accuracy = moved
    network = [config, checkpoint] if given else [checkpoint]
    ended = run_tool('test.py', *network, '--work-dir', tmp_path / 'test', '--out', tmp_path / 'metrics.json')
    assert ended.status == 0, ended.err
    assert json.loads((tmp_path / 'metrics.json').read_text())['accuracy/top1'] == accuracy
    out = ['--format', 'packed', '--out', tmp_path, '--name', 'net', '--batch', 50]
    ended = run_tool('export.py', *network, *out, '--verify', '--images', 200)
    assert ended.status == 0, ended.err
    (row,) = rows(ended)
    height, width = SIZES[name]
    assert (row['input'], row['verdict']) == (f'50x1x{height}x{width}', 'verified')
    assert float(row['recorded'].rstrip('%')) == pytest.approx(accuracy, abs=0.005)
    for column in ('reference', 'top-1'):
        assert float(row[column].rstrip('%')) == pytest.approx(accuracy, abs=1)  # rounding may move an image or two
    flags = ['--config', config] if given else []
    checked = run_command('verify', tmp_path / 'net.safetensors', '--checkpoint', checkpoint, *flags, '--images', 200)
    assert checked.status == 0, checked.err
    assert rows(checked)[0]['recorded'] == row['recorded']


def test_its_record_is_that_of_its_own_weights(moved):
    _, _, checkpoint, accuracy = moved
    trained = torch.load(checkpoint, weights_only=True)['meta']['trained']
    assert trained['metrics']['accuracy/top1'] == accuracy
    assert trained['size'] == list(SIZES[moved[0]])


def test_another_size_is_taken_aloud_alone(run_tool, moved, tmp_path):
    """Stretched images may give another accuracy, which is no verdict on the files alone."""
    name, _, checkpoint, accuracy = moved
    options = ['--format', 'packed', '--out', tmp_path, '--verify', '--images', 200, '--batch', 50]
    ended = run_tool('export.py', checkpoint, *options, '--size', 80, 80)
    assert f'(as --size says; trained with {" x ".join(map(str, SIZES[name]))})' in ended.out
    (row,) = rows(ended)
    lost = accuracy - float(row['reference'].rstrip('%'))
    assert row['input'] == '50x1x80x80'
    assert (row['verdict'] == 'FAILED') == (ended.status == 1) == (lost > 0.5)
    assert ('the network itself has' in ended.err) == (lost > 0.5)


@pytest.mark.parametrize('tool', ['export.py', 'benchmark.py'])
def test_a_config_of_another_size_is_refused(run_tool, tiny_config_with, finished_run, tmp_path, tool):
    checkpoint = finished_run.folder / 'binary' / 'epoch_3.pth'
    config = tiny_config_with('test_dataloader = dict(dataset=dict(size=40))')
    words = [checkpoint, '--format', 'packed'] if tool == 'export.py' else ['--checkpoint', checkpoint, '--threads', 1]
    ended = run_tool(tool, config, *words, '--out', tmp_path / 'out')
    sizes = f'{config} tests with images of 40 x 40 and {checkpoint} was trained with 16 x 16'
    assert (ended.status, ended.err.splitlines()[-1]) == (1, f'error: {sizes}: say which with --size H W')


def test_a_file_is_verified_at_the_size_that_it_was_written_for(run_tool, run_command, finished_run, tmp_path):
    """A packed file takes any size, and says which it was exported for."""
    checkpoint = finished_run.folder / 'bn' / 'epoch_2.pth'
    options = ['--format', 'packed', '--out', tmp_path, '--name', 'net']
    assert run_tool('export.py', checkpoint, *options, '--size', 20, 24).status == 0
    ended = run_command('verify', tmp_path / 'net.safetensors', '--checkpoint', checkpoint, '--images', 4)
    assert rows(ended)[0]['input'] == '1x1x20x24'


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_foreign_weights_carry_the_config_that_they_were_converted_for(
    run_tool, finished_run, tiny_config, tmp_path, suffix
):
    """Weights without any other entry, as another trainer leaves them."""
    foreign, target = tmp_path / 'foreign.pth', tmp_path / f'ours{suffix}'
    weights = finished_run.weights('binary')
    torch.save({f'module.{name}': value for name, value in weights.items()}, foreign)
    words = [foreign, target, '--config', tiny_config]
    for flags, sentence in (([], 'backbone.layer1.0.conv1 has real weights'), (['--stage', 'x'], "no stage 'x'")):
        refused = run_tool('convert_checkpoint.py', *words, *flags)
        assert (refused.status, refused.err.count('\n'), target.exists()) == (1, 1, False)
        assert sentence in refused.err
    assert run_tool('convert_checkpoint.py', *words, '--stage', 'binary').status == 0
    ended = run_tool('test.py', target, '--work-dir', tmp_path / 'test', '--out', tmp_path / 'metrics.json')
    assert ended.status == 0, ended.err
    assert 'stage binary of' in ended.out
    expected = next(row['top1'] for row in finished_run.results if row['name'] == 'binary')
    assert json.loads((tmp_path / 'metrics.json').read_text())['accuracy/top1'] == expected


def test_weights_of_one_tell_the_last_stage_where_that_absorbs_scales(run_tool, finished_run, tiny_config, tmp_path):
    torch.save(finished_run.weights('bn'), tmp_path / 'foreign.pth')
    target = tmp_path / 'ours.pth'
    assert run_tool('convert_checkpoint.py', tmp_path / 'foreign.pth', target, '--config', tiny_config).status == 0
    assert torch.load(target, weights_only=True)['meta']['trained']['stage'] == 'bn'


def test_the_stage_of_foreign_weights_is_asked_for_where_nothing_tells_it(
    run_tool, finished_run, tiny_config_with, tmp_path
):
    config = tiny_config_with('stages = dict(bn=dict(absorb_scales=False))')
    torch.save(finished_run.weights('bn'), tmp_path / 'foreign.pth')
    ended = run_tool('convert_checkpoint.py', tmp_path / 'foreign.pth', tmp_path / 'a.pth', '--config', config)
    assert (ended.status, (tmp_path / 'a.pth').exists()) == (1, False)
    assert 'does not tell which stage' in ended.err
    assert 'name one with --stage (float, leaky_clip, clip, binary, bn)' in ended.err


def test_the_cost_of_a_checkpoint_is_that_of_its_network_and_size(run_tool, finished_run, tiny_config):
    """The sums of a network without 1-bit layers differ; 16 x 16 px are a quarter of the usual 32 x 32."""
    checkpoint = finished_run.folder / 'clip' / 'epoch_2.pth'
    of_file = run_tool('cost.py', checkpoint)
    of_config = run_tool('cost.py', tiny_config, '--stage', 'clip')
    assert (of_file.status, of_config.status) == (0, 0), of_file.err + of_config.err
    assert of_file.out.splitlines()[0] == f'{checkpoint}, stage clip: images of 16 x 16 (as trained)'
    assert of_config.out.splitlines()[0] == f'{tiny_config}, stage clip: images of 16 x 16 (as it tests)'
    assert of_file.out.splitlines()[1:] == of_config.out.splitlines()[1:]
    last = run_tool('cost.py', tiny_config)
    assert last.out.splitlines()[0].startswith(f'{tiny_config}, stage bn: ')
    assert last.out.splitlines()[1:] != of_config.out.splitlines()[1:]


def test_the_cost_of_a_network_whose_data_are_not_here_needs_a_size(run_tool):
    ended = run_tool('cost.py', 'bireal_r18_cifar10')
    assert (ended.status, ended.err.count('\n')) == (1, 1)
    assert 'the size of the test images is not known' in ended.err
    assert 'give it as --size H W' in ended.err
    assert run_tool('cost.py', 'bireal_r18_cifar10', '--size', 32, 32).status == 0
    assert 'images of 224 x 224 (as it tests)' in run_tool('cost.py', 'bireal_r18_imagenet').out


STREET = """
_base_ = '{repository}/configs/depth/bireal_r18_street.py'
model = dict(backbone=dict(base_channels=8), head=dict(channels=(16, 8, 8)))
train_dataloader = dict(batch_size=4, dataset=dict(length=8, size=(32, 96)))
val_dataloader = dict(batch_size=4, dataset=dict(length=4, size=(32, 96)))
test_dataloader = val_dataloader
train_cfg = dict(val_interval=1)
stages = dict(real=dict(train_cfg=dict(max_epochs=1)), binary=dict(train_cfg=dict(max_epochs=2)))
"""


@pytest.fixture(scope='module')
def street(run_tool, as_run, tmp_path_factory):
    """Config, best checkpoint of the binary stage elsewhere, and its metrics."""
    folder = tmp_path_factory.mktemp('street')
    config = folder / 'small.py'
    config.write_text(STREET.format(repository=REPOSITORY))
    run = as_run(folder / 'run', run_tool('train.py', config, '--work-dir', folder / 'run'))
    (best,) = (run.folder / 'binary').glob('best_*.pth')
    away = folder / 'real' / 'net.pth'
    away.parent.mkdir()
    shutil.copy(best, away)
    curves = torch.load(best, weights_only=True)['message_hub']['curves']
    metrics = {key.removeprefix('val/'): float(curve['values'][-1]) for key, curve in curves.items() if 'depth/' in key}
    assert metrics['depth/delta1'] >= run.results[-1]['depth/delta1']
    return config, away, metrics


@pytest.mark.parametrize('given', [True, False], ids=['with config', 'without'])
def test_a_depth_network_elsewhere_tests_exports_and_verifies_as_itself(run_tool, run_command, street, tmp_path, given):
    config, checkpoint, metrics = street
    network = [config, checkpoint] if given else [checkpoint]
    ended = run_tool('test.py', *network, '--work-dir', tmp_path / 'test', '--out', tmp_path / 'metrics.json')
    assert ended.status == 0, ended.err
    assert json.loads((tmp_path / 'metrics.json').read_text()) == pytest.approx(metrics, rel=1e-6)
    options = ['--format', 'packed', '--out', tmp_path, '--name', 'net', '--verify', '--images', 2]
    ended = run_command('depth export', *network, *options)
    assert ended.status == 0, ended.err
    assert '(as trained)' in ended.out
    assert (rows(ended)[0]['input'], rows(ended)[0]['verdict']) == ('1x3x32x96', 'verified')
    flags = ['--config', config] if given else []
    scores = [
        run_command('depth evaluate', file, '--streets', 2, '--street-size', 32, 96, *flags_of_file)
        for file, flags_of_file in ((checkpoint, flags), (tmp_path / 'net.safetensors', []))
    ]
    assert [each.status for each in scores] == [0, 0], scores[0].err + scores[1].err
    assert [line.split()[-3:] for line in scores[0].out.splitlines()] == [
        line.split()[-3:] for line in scores[1].out.splitlines()
    ]


@pytest.mark.parametrize('command', ['depth evaluate', 'depth infer'])
def test_weights_of_another_depth_network_are_taken_when_asked_for(run_command, street, tmp_path, command):
    config, checkpoint, _ = street
    if command == 'depth evaluate':
        words = [checkpoint, '--streets', 1, '--street-size', 32, 96]
    else:
        assert run_command('depth render', tmp_path / 'streets', '--count', 1, '--size', 32, 96).status == 0
        (images,) = (tmp_path / 'streets').rglob('image_02/data')
        words = [images, '--checkpoint', checkpoint, '--out', tmp_path / 'out']
    words += ['--config', config, '--stage', 'real']
    refused = run_command(command, *words)
    assert refused.status == 1
    assert 'take them all the same with --allow-other-network' in refused.err
    taken = run_command(command, *words, '--allow-other-network')
    assert taken.status == 0, taken.err
