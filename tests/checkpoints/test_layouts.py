"""Checkpoints of the published networks, and of others, into ours."""

import re

import pytest
import timm
import torch
import torchvision
from torch import nn

from bireal_plugin import BiRealClassifier, BiRealResNet, InputError, fold
from bireal_plugin.checkpoints.file import state_dict_of
from bireal_plugin.checkpoints.layouts import trunk_of
from bireal_plugin.checkpoints.loading import load_weights, part_of
from tests.models import published

UNUSED = 'layers.0.down_conv1x1.weight'


def classifier(depth, **options):
    return BiRealClassifier(BiRealResNet(depth, out_indices=(3,), **options), num_classes=1000)


def timm_model(depth):
    return timm.create_model(f'bireal_resnet{depth}')


def load(model, state, *, strict=True):
    return load_weights(model, state, source='given.pth', strict=strict)


@pytest.mark.parametrize('depth', [18, 34, 50])
def test_synthetic_checkpoint_has_as_many_entries_as_the_published(depth):
    assert len(published.state_of(depth)) == published.ENTRIES[depth]


@pytest.mark.parametrize('make', [classifier, timm_model])
@pytest.mark.parametrize('kind', ['latent', 'plus minus one'])
@pytest.mark.parametrize('depth', [18, 34, 50])
def test_published_weights_give_the_published_networks_outputs(depth, kind, make):
    state = state_dict_of(published.checkpoint(published.state_of(depth, kind)), 'given.pth')
    model = make(depth)
    load(model, state)
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    expected = published.logits(depth, x, {name: value.double() for name, value in state.items()})
    with torch.no_grad():
        torch.testing.assert_close(model.double().eval()(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('depth', [18, 34, 50])
def test_report_of_a_published_checkpoint_counts_all_of_it(depth):
    report = load(classifier(depth), published.state_of(depth))
    unused = [UNUSED] if depth == 50 else []
    assert (len(report.loaded) + len(unused), list(report.naming.dropped)) == (published.ENTRIES[depth], unused)
    assert report.complete
    layout = 'published Bi-Real 50' if depth == 50 else 'published Bi-Real 18/34'
    loaded = published.ENTRIES[depth] - len(unused)
    assert str(report).startswith(
        f"given.pth: {loaded} of the model's {loaded} tensors loaded; names of a {layout} mapped"
    )


def as_ordinary(state):
    """The same weights as another code base may keep them: convolutions' own shape, `weight`, a head called linear."""
    renamed = {}
    for name, value in state.items():
        if name.endswith('binary_conv.weights'):
            bn = state[name.replace('binary_conv.weights', 'bn1.weight')]
            value = value.view(len(bn), -1, 3, 3)
        renamed[re.sub('^fc', 'linear', name.replace('conv.weights', 'conv.weight'))] = value
    return renamed


@pytest.mark.parametrize('make', [classifier, timm_model])
def test_names_without_shift_or_prelu_are_bi_reals_whatever_the_spelling(make):
    state = published.state_of(18)
    model = make(18)
    report = load(model, as_ordinary(state))
    assert report.complete
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected = published.logits(18, x, {name: value.double() for name, value in state.items()})
    with torch.no_grad():
        torch.testing.assert_close(model.double().eval()(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('head', ['linear', 'classifier', 'head', 'head.fc', 'last_linear'])
def test_heads_of_other_names_are_the_linear_layer(head):
    state = {re.sub('^fc', head, name): value for name, value in published.state_of(18).items()}
    model = classifier(18)
    load(model, state)
    assert torch.equal(model.fc.weight, state[f'{head}.weight'])


def with_biases(depth):
    """A published state whose 1-bit and real convolutions have biases, and the one that computes the same without."""
    state = published.state_of(depth)
    biased = dict(state)
    torch.manual_seed(1)
    for name in [name for name in state if name.endswith('running_mean')]:
        conv = re.sub(r'bn(\d)\.running_mean$', r'conv\1.bias', name).replace(
            'downsample.2.running_mean', 'downsample.1.bias'
        )
        if depth == 18 and '.' in conv[:-10]:
            conv = conv.replace('conv1', 'binary_conv')
        biased[conv] = torch.randn(state[name].shape)
        biased[name] = state[name] + biased[conv]
    return biased, state


@pytest.mark.parametrize('depth', [18, 50])
def test_biases_of_convolutions_load_and_fold(depth):
    biased, plain = with_biases(depth)
    model = classifier(depth)
    report = load(model, biased)
    taken = [name for name, why in report.naming.dropped.items() if 'taken into the running means' in why]
    assert len(taken) == len(biased) - len(plain)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected = published.logits(depth, x, {name: value.double() for name, value in plain.items()})
    with torch.no_grad():
        torch.testing.assert_close(fold(model.double().eval(), x.shape)(x), expected, rtol=1e-3, atol=1e-3)


def test_a_bias_of_a_network_whose_norms_may_stand_in_front_is_told():
    model = nn.ModuleDict(dict(bn1=nn.BatchNorm2d(3), conv1=nn.Conv2d(3, 4, 1, bias=False), bn2=nn.BatchNorm2d(3)))
    before = model.bn1.running_mean.clone()
    with pytest.raises(InputError, match=r'1 not in the model \(conv1\.bias\)'):
        load(model, {**model.state_dict(), 'conv1.bias': torch.ones(3)})
    assert torch.equal(model.bn1.running_mean, before)


def test_a_bias_without_a_norm_behind_is_told():
    model = classifier(50, norm_cfg=dict(type='GN', num_groups=2), base_channels=8)
    state = {**model.state_dict(), 'backbone.layer1.0.conv2.bias': torch.zeros(8)}
    with pytest.raises(InputError, match=r'1 not in the model \(backbone\.layer1\.0\.conv2\.bias\)'):
        load(model, state)


def test_mapping_lists_each_kind_of_renaming_with_its_count():
    lines = load(classifier(18), published.state_of(18)).mapping().splitlines()
    assert '   16  layer*.*.binary_conv.weights -> backbone.layer*.*.conv1.weight' in lines
    assert sum(int(line.split()[0]) for line in lines) == 122


def test_blocks_of_the_published_50_land_in_their_stages():
    report = load(BiRealResNet(50), published.state_of(50), strict=False)
    placed = {new: old for new, old in report.loaded.items() if new.endswith('conv1.weight') and '.' in new[:-12]}
    expected = {}
    index = 0
    for stage, count in enumerate(published.BOTTLENECK, start=1):
        for block in range(count):
            expected[f'layer{stage}.{block}.conv1.weight'] = f'layers.{index}.conv1.weight'
            index += 1
    assert placed == expected


@pytest.mark.parametrize(('stage', 'index'), [(2, 3), (3, 7), (4, 13)])
def test_narrow_shortcut_is_the_published_down_conv1x1(stage, index):
    model, state = BiRealResNet(50), published.state_of(50)
    load(model, state, strict=False)
    ours = model.state_dict()[f'layer{stage}.0.narrow_shortcut.weight']
    assert torch.equal(ours, state[f'layers.{index}.down_conv1x1.weight'])


def test_timm_deep_stem_lands_in_ours():
    stock, model = timm.create_model('resnet50d'), BiRealResNet(50, deep_stem=True, stem_channels=64)
    report = load(model, stock.state_dict(), strict=False)
    assert (report.unknown, report.missing) == (('fc.weight', 'fc.bias'), ())
    assert torch.equal(model.stem[3].weight, stock.conv1[3].weight)
    assert report.loaded['stem.7.bias'] == 'bn1.bias'


def test_group_norm_names_of_mmdet_are_ours():
    model = BiRealResNet(50, base_channels=8, norm_cfg=dict(type='GN', num_groups=2))
    state = {re.sub(r'bn(\d)', r'gn\1', name): value + 1 for name, value in model.state_dict().items()}
    load(model, state)
    assert all(torch.equal(state[re.sub(r'bn(\d)', r'gn\1', name)], v) for name, v in model.state_dict().items())


def test_counters_that_old_files_lack_may_be_absent_in_strict_loading():
    state = {name: value for name, value in published.state_of(18).items() if 'num_batches_tracked' not in name}
    report = load(classifier(18), state)
    assert (len(report.loaded), len(report.naming.absent)) == (102, 20)


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (lambda: BiRealResNet(18), '18 layers (4-4-4-4 blocks of 1 convolution)'),
        (lambda: BiRealResNet(34), '34 layers (6-8-12-6 blocks of 1 convolution)'),
        (lambda: BiRealResNet(101), '101 layers (3-4-23-3 blocks of 3 convolutions)'),
        (lambda: torchvision.models.resnet18(), '18 layers (2-2-2-2 blocks of 2 convolutions)'),
    ],
)
def test_depth_is_counted_from_names(make, text):
    with torch.device('meta'):
        assert str(trunk_of(make().state_dict())) == text


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize(
    ('theirs', 'ours'), [(18, 34), (18, 50), (34, 18), (34, 50), (50, 34), ('stock 18', 34), ('stock 34', 50)]
)
def test_another_depth_is_refused_by_its_own_sentence(theirs, ours, strict):
    with torch.device('meta'):
        if isinstance(theirs, str):
            theirs = int(theirs.split()[1])
            state = torchvision.models.get_model(f'resnet{theirs}').state_dict()
        else:
            state = published.state_of(theirs)
        model = classifier(ours)
    words = rf'given\.pth has {theirs} layers .* and the model {ours} layers .*build the model with depth={theirs}'
    with pytest.raises(InputError, match=words):
        load(model, state, strict=strict)


@pytest.mark.parametrize(
    ('blocks', 'ours', 'ways'),
    [
        ((4, 4, 4, 3), dict(depth=18), '; bring weights of depth 18'),  # 17 layers, which is no depth
        ((3, 5, 4, 4), dict(depth=18), '; bring weights of depth 18'),  # 18 layers, but not those of depth 18
        ((6, 8, 12, 6), dict(depth=18), '; build the model with depth=34, or bring weights of depth 18'),
        ((6, 8), dict(depth=18, num_stages=3), '; build the model with depth=34, or bring weights of depth 18'),
        ((4, 4, 4, 3), dict(depth=50, num_stages=2), ''),  # two stages of 3-4 are those of 50, 101 and 152... of two
    ],
)
def test_advice_names_depths_that_there_are(blocks, ours, ways):
    state = {f'layer{s}.{i}.conv1.weight': torch.ones(1) for s, n in enumerate(blocks, 1) for i in range(n)}
    with torch.device('meta'), pytest.raises(InputError, match=r'has .* layers') as refused:
        load(BiRealResNet(**{'strides': (1, 2, 2, 2), 'out_indices': (0,), **ours}), state)
    assert str(refused.value).partition('these weights belong to another network')[2] == ways


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


MISTAKES = {
    'missing': (
        lambda s: without(s, 'layer2.0.downsample.1.weight', 'layer1.2.bn1.weight'),
        r'2 not in the file \(backbone\.layer1\.2\.bn1\.weight, backbone\.layer2\.0\.downsample\.1\.weight\); these',
    ),
    'unknown': (
        lambda s: {**s, 'layer1.0.extra.weight': torch.ones(1), 'neck.bias': torch.ones(1)},
        r'2 not in the model \(layer1\.0\.extra\.weight, neck\.bias\); these weights belong to another network',
    ),
    'flat shape': (
        lambda s: {**s, 'layer1.0.binary_conv.weights': torch.ones(10, 1)},
        r'1 of another shape \(backbone\.layer1\.0\.conv1\.weight\), the first \(10, 1\) instead of \(64, 64, 3, 3\)',
    ),
    'shape': (
        lambda s: {**s, 'conv1.weight': torch.ones(64, 1, 7, 7)},
        r'1 of another shape \(backbone\.conv1\.weight\), the first \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)',
    ),
    'prefix': (
        lambda s: {f'student.{name}': value for name, value in s.items()},
        r"the weights that fit are named student\.\*, .*give 'student\.' as prefix of init_cfg, or as --prefix",
    ),
    'twice': (
        lambda s: {**s, 'layer1.0.conv1.weight': torch.ones(64, 64, 3, 3)},
        r'layer1\.0\.binary_conv\.weights and layer1\.0\.conv1\.weight would both become backbone\.layer1\.0\.conv1',
    ),
    'reactnet shift': (
        lambda s: {**s, 'layer1.0.move11.bias': torch.zeros(1, 64, 1, 1)},
        r'layer1\.0\.move11\.bias is a name of ReActNet-style networks, whose blocks add learned biases',
    ),
    'binary convolution of another name': (
        lambda s: {name.replace('binary_conv', 'binary_3x3'): value for name, value in s.items()},
        r'layer1\.0\.binary_3x3\.weights',
    ),
    'reactnet bias': (
        lambda s: {**s, 'layer1.0.move0.bias': torch.zeros(1, 64, 1, 1)},
        r'layer1\.0\.move0\.bias is a name of ReActNet-style networks',
    ),
    'reactnet prelu': (
        lambda s: {**s, 'layer1.0.prelu.weight': torch.zeros(64)},
        r'layer1\.0\.prelu\.weight is a name of ReActNet-style networks',
    ),
}


@pytest.mark.parametrize('mistake', list(MISTAKES))
def test_each_mistake_has_its_own_sentence(mistake):
    change, words = MISTAKES[mistake]
    with torch.device('meta'):
        model, state = classifier(18), change(published.state_of(18))
    with pytest.raises(InputError, match=rf'^given\.pth: .*{words}'):
        load(model, state)


def test_unknown_blocks_of_the_published_50_are_listed():
    state = {name: value for name, value in published.state_of(50).items() if not name.startswith('layers.15.')}
    with pytest.raises(InputError, match=r'given\.pth has 47 layers \(3-4-6-2 blocks .*bring weights of depth 50'):
        load(classifier(50), state)


def test_refused_published_weights_change_nothing():
    model = classifier(18)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError):
        load(model, without(published.state_of(18), 'bn1.bias'))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize('name', ['layers.0.conv1.weight', 'layer1.0.binary_conv.weights', 'block.move1.bias'])
def test_a_model_that_has_a_foreign_name_itself_keeps_it(name):
    *path, last = name.split('.')
    leaf = nn.Module()
    leaf.register_parameter(last, nn.Parameter(torch.zeros(2)))
    for part in reversed(path):
        leaf = nn.ModuleDict({part: leaf})
    load(leaf, {name: torch.ones(2)})
    assert torch.equal(leaf.state_dict()[name], torch.ones(2))


def test_part_behind_a_prefix_is_found_with_and_without_its_dot():
    state = {'student.a': torch.ones(1), 'teacher.a': torch.zeros(1)}
    assert part_of(state, 'student', 'f') == part_of(state, 'student.', 'f') == {'a': state['student.a']}


def test_prefix_that_nothing_has_is_refused():
    with pytest.raises(InputError, match=r"f: no name starts with 'net\.'; they start with student\., teacher\."):
        part_of({'student.a': torch.ones(1), 'teacher.a': torch.zeros(1)}, 'net', 'f')
