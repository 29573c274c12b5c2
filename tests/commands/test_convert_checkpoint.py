"""tools/convert_checkpoint.py: any known layout in, one of our networks out."""

import copy
import functools
import json

import pytest
import timm
import torch
import torchvision
from torch import nn

from bireal_plugin import BiRealClassifier, BiRealResNet
from bireal_plugin.checkpoints.file import read_checkpoint, state_dict_of
from tests.models import published

X = torch.linspace(-2, 2, 3 * 64 * 64).view(1, 3, 64, 64)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """The published checkpoints, on disk."""
    folder = tmp_path_factory.mktemp('published')
    for depth in (18, 34, 50):
        torch.save(published.checkpoint(published.state_of(depth)), folder / f'{depth}.pth')
    return folder


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """A small classifier of ours, and its file."""
    model = BiRealClassifier(BiRealResNet(18, base_channels=4, in_channels=1, stem='cifar'), num_classes=3).eval()
    path = tmp_path_factory.mktemp('tiny') / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return model, path


def network(to, depth):
    if to == 'timm':
        return timm.create_model(f'bireal_resnet{depth}')
    backbone = BiRealResNet(depth, out_indices=(3,))
    return backbone if to == 'backbone' else BiRealClassifier(backbone, num_classes=1000)


@functools.cache
def outputs(depth, *, features):
    """Of the published network: its last feature map, or its logits."""
    weights = {name: value.double() for name, value in published.state_of(depth).items()}
    if not features:
        return published.logits(depth, X.double(), weights)
    if depth == 18:
        return published.basic_network(X.double(), weights, published.BASIC[18])
    return published.bottleneck_network(X.double(), weights)


def loaded(model, path):
    """The model with the file's weights, by torch's own strict loading."""
    model.load_state_dict(state_dict_of(read_checkpoint(path), path))
    return model.double().eval()


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('to', ['backbone', 'classifier', 'timm'])
@pytest.mark.parametrize('depth', [18, 50])
def test_converted_published_network_computes_what_the_published_one_does(run_tool, files, tmp_path, depth, to, suffix):
    target = tmp_path / f'converted{suffix}'
    ended = run_tool('convert_checkpoint.py', files / f'{depth}.pth', target, '--to', to)
    assert (ended.status, ended.err) == (0, '')
    with torch.no_grad():
        got = loaded(network(to, depth), target)(X.double())
    features = to == 'backbone'
    expected = outputs(depth, features=features)
    torch.testing.assert_close(got[-1] if features else got, expected, rtol=1e-5, atol=1e-5)


def test_depth_and_classifier_are_found_and_all_is_told(run_tool, files, tmp_path):
    target = tmp_path / 'new' / 'converted.pth'
    ended = run_tool('convert_checkpoint.py', files / '34.pth', target)
    assert "34.pth: 218 of the model's 218 tensors loaded; names of a published Bi-Real 18/34 mapped" in ended.out
    assert '   32  layer*.*.binary_conv.weights -> backbone.layer*.*.conv1.weight\n' in ended.out
    assert ended.out.endswith(f'written and read back: {target}\n')
    assert read_checkpoint(target)['meta'] == dict(
        source='34.pth', layout='published Bi-Real 18/34', network='classifier', options='{"depth": 34}'
    )


def test_the_unused_shortcut_of_the_50_and_the_classifier_are_reported_as_left_out(run_tool, files, tmp_path):
    ended = run_tool('convert_checkpoint.py', files / '50.pth', tmp_path / 'c.pth', '--to', 'backbone')
    assert '1 left out (layers.0.down_conv1x1.weight): stored by the published code and never used' in ended.out
    assert '2 left out (fc.weight, fc.bias): not of the backbone' in ended.out


def test_only_the_target_is_left_behind(run_tool, tiny, tmp_path):
    run_tool('convert_checkpoint.py', tiny[1], tmp_path / 'c.pth')
    assert [path.name for path in tmp_path.iterdir()] == ['c.pth']


def test_shape_of_a_network_of_ours_is_found(run_tool, tiny, tmp_path):
    model, source = tiny
    ended = run_tool('convert_checkpoint.py', source, tmp_path / 'c.safetensors', '--to', 'timm')
    assert ended.status == 0, ended.err
    options = json.loads(read_checkpoint(tmp_path / 'c.safetensors')['meta']['options'])
    assert options == dict(depth=18, in_channels=1, base_channels=4, stem='cifar')
    twin = timm.create_model('bireal_resnet18', num_classes=3, in_chans=1, base_channels=4, stem='cifar')
    x = X[:, :1].double()
    with torch.no_grad():
        assert torch.equal(loaded(twin, tmp_path / 'c.safetensors')(x), copy.deepcopy(model).double()(x))


def test_there_and_back_is_the_same(run_tool, tiny, tmp_path):
    run_tool('convert_checkpoint.py', tiny[1], tmp_path / 'timm.safetensors', '--to', 'timm')
    run_tool('convert_checkpoint.py', tmp_path / 'timm.safetensors', tmp_path / 'back.pth', '--to', 'classifier')
    before, after = tiny[0].state_dict(), read_checkpoint(tmp_path / 'back.pth')['state_dict']
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_config_gives_the_network(run_tool, tiny_config, finished_run, tmp_path):
    source = finished_run.folder / finished_run.results[-1]['checkpoint']
    ended = run_tool('convert_checkpoint.py', source, tmp_path / 'c.pth', '--config', tiny_config)
    assert ended.status == 0, ended.err
    before, after = read_checkpoint(source)['state_dict'], read_checkpoint(tmp_path / 'c.pth')['state_dict']
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_converted_weights_start_a_recipe(run_tool, tiny_config, finished_run, tmp_path):
    source = finished_run.folder / finished_run.results[-1]['checkpoint']
    run_tool('convert_checkpoint.py', source, tmp_path / 'c.safetensors', '--config', tiny_config)
    out = ['--work-dir', tmp_path / 'test', '--out', tmp_path / 'm.json']
    assert run_tool('test.py', tiny_config, tmp_path / 'c.safetensors', '--stage', 'bn', *out).status == 0
    assert json.loads((tmp_path / 'm.json').read_text())['accuracy/top1'] == finished_run.results[-1]['top1']


def test_stock_resnet_50_gets_narrow_shortcuts_the_same_every_time(run_tool, tmp_path):
    torch.save(torchvision.models.resnet50().state_dict(), tmp_path / 'stock.pth')
    for name in ('a.pth', 'b.pth'):
        ended = run_tool('convert_checkpoint.py', tmp_path / 'stock.pth', tmp_path / name)
        assert '3 not in the file (backbone.layer2.0.narrow_shortcut.weight' in ended.out
    a, b = (read_checkpoint(tmp_path / name)['state_dict'] for name in ('a.pth', 'b.pth'))
    assert len(a) == 323
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_prefix_reads_a_part(run_tool, tiny, tmp_path):
    state = {f'student.{name}': value for name, value in tiny[0].state_dict().items()} | {'teacher.w': torch.ones(1)}
    torch.save(state, tmp_path / 'both.pth')
    arguments = [tmp_path / 'both.pth', tmp_path / 'c.pth']
    assert run_tool('convert_checkpoint.py', *arguments).status == 1
    assert run_tool('convert_checkpoint.py', *arguments, '--prefix', 'student').status == 0


def test_backbone_of_a_detector_is_taken_out_of_it(run_tool, tiny, tmp_path):
    backbone = tiny[0].backbone.state_dict()
    state = {f'backbone.{name}': value for name, value in backbone.items()} | {'neck.weight': torch.ones(1)}
    torch.save(dict(state_dict=state), tmp_path / 'detector.pth')
    ended = run_tool('convert_checkpoint.py', tmp_path / 'detector.pth', tmp_path / 'c.pth', '--to', 'backbone')
    assert '1 left out (neck.weight): not of the backbone' in ended.out
    assert read_checkpoint(tmp_path / 'c.pth')['state_dict'].keys() == backbone.keys()


def test_existing_target_is_replaced_only_on_demand(run_tool, tiny, tmp_path):
    target = tmp_path / 'c.pth'
    target.write_text('precious')
    ended = run_tool('convert_checkpoint.py', tiny[1], target)
    assert (ended.status, ended.err) == (
        1,
        f'error: {target} exists; give another TARGET, --overwrite to replace it, or --skip-existing\n',
    )
    assert target.read_text() == 'precious'
    assert run_tool('convert_checkpoint.py', tiny[1], target, '--overwrite').status == 0
    assert 'state_dict' in read_checkpoint(target)


@pytest.fixture(scope='module')
def broken(tmp_path_factory, tiny):
    """Files that are no checkpoint of a Bi-Real network, by what is wrong with them."""
    model, path = tiny
    folder = tmp_path_factory.mktemp('broken')
    state = model.state_dict()
    (folder / 'truncated.pth').write_bytes(path.read_bytes()[:3000])
    (folder / 'text.pth').write_text('no weights here')
    (folder / 'text.safetensors').write_text('no weights here')
    torch.save(nn.Linear(1, 1), folder / 'code.pth')
    torch.save([1, 2], folder / 'list.pth')
    torch.save(dict(epoch=1), folder / 'empty.pth')
    torch.save({'blocks.0.qkv': torch.ones(1)}, folder / 'vit.pth')
    torch.save({**state, 'backbone.layer1.0.move0.bias': torch.ones(1)}, folder / 'reactnet.pth')
    torch.save({**state, 'backbone.extra': torch.ones(1)}, folder / 'unknown.pth')
    torch.save({name: value for name, value in state.items() if name != 'fc.bias'}, folder / 'missing.pth')
    torch.save({**state, 'fc.bias': torch.ones(5)}, folder / 'shape.pth')
    torch.save(model.backbone.state_dict(), folder / 'headless.pth')
    torch.save({n: v for n, v in state.items() if '.layer4.3.' not in n}, folder / 'short.pth')
    return folder


@pytest.mark.parametrize(
    ('name', 'arguments', 'words'),
    [
        ('absent.pth', [], 'does not exist'),
        ('truncated.pth', [], 'is truncated or not a PyTorch file'),
        ('text.pth', [], 'is truncated or not a PyTorch file'),
        ('text.safetensors', [], 'is truncated or not a safetensors file'),
        ('code.pth', [], 'holds objects (torch.nn.modules.linear.Linear) besides tensors'),
        ('list.pth', [], 'holds a list, not a dictionary of weights'),
        ('empty.pth', [], 'has no weights'),
        ('vit.pth', [], 'has no ResNet names (layer1.0.* or layers.0.*) but blocks.0.qkv'),
        ('reactnet.pth', [], 'layer1.0.move0.bias is a name of ReActNet-style networks'),
        ('unknown.pth', [], '1 not in the model (backbone.extra)'),
        ('missing.pth', [], '1 not in the file (fc.bias)'),
        ('shape.pth', [], '1 of another shape (fc.bias), the first (5,) instead of (3,)'),
        ('headless.pth', ['--to', 'timm'], 'has no linear layer (fc.weight), which a timm needs; give --to backbone'),
        ('short.pth', [], 'has 17 layers (4-4-4-3 blocks of 1 convolution), which is no BiRealResNet'),
        ('headless.pth', ['--depth', '34'], 'and the model 34 layers'),
        ('headless.pth', ['--prefix', 'net'], "no name starts with 'net.'"),
        ('headless.pth', ['--config', 'absent.py'], 'config absent.py does not exist'),
        ('headless.pth', ['--config', 'absent.py', '--to', 'timm'], '--to timm: with --config'),
        ('torchvision://resnet19', [], 'torchvision://resnet19 cannot be loaded'),
        ('timm://resnet19', [], "timm has no model 'resnet19'"),
    ],
)
def test_each_mistake_is_one_sentence_and_writes_nothing(run_tool, broken, tmp_path, name, arguments, words):
    source = name if '://' in name else broken / name
    ended = run_tool('convert_checkpoint.py', source, tmp_path / 'c.pth', *arguments)
    assert (ended.status, ended.err.count('\n')) == (1, 1)
    assert ended.err.startswith('error: ')
    assert words in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('target', 'words'), [('c.onnx', 'must end in .pth or .safetensors'), ('folder.pth', 'is a folder; name a file')]
)
def test_target_that_cannot_be_written_is_refused(run_tool, tiny, tmp_path, target, words):
    (tmp_path / 'folder.pth').mkdir()
    ended = run_tool('convert_checkpoint.py', tiny[1], tmp_path / target)
    assert (ended.status, ended.err) == (1, f'error: {tmp_path / target} {words}\n')
