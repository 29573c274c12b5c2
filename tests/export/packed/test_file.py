import pytest
import torch
from mmengine.registry import MODELS

import bireal_plugin
from bireal_plugin.errors import InputError
from bireal_plugin.export.packed.file import load_packed, save_packed
from bireal_plugin.folding.fold import fold
from tests.export.forged import CONFIG, forged, split
from tests.folding.test_fold import trained


@pytest.fixture(scope='module')
def model():
    return trained(MODELS.build(CONFIG))


@pytest.fixture(scope='module')
def original(model, tmp_path_factory):
    path = tmp_path_factory.mktemp('packed') / 'net.safetensors'
    save_packed(model, CONFIG, path)
    return path.read_bytes()


@pytest.fixture
def packed(original, tmp_path):
    path = tmp_path / 'net.safetensors'
    path.write_bytes(original)
    return path


def test_a_loaded_network_computes_bit_for_bit_what_the_folded_one_does(model, packed):
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(bireal_plugin.load(packed)(x), fold(model)(x))


@pytest.mark.parametrize(
    'options',
    [
        dict(rsign=True, rprelu=True),
        dict(conv='XNORConv2d'),
        dict(conv=dict(type='ABCConv2d', weight_bases=2, activation_bases=2, per='channel')),
        dict(norm_cfg=dict(type='GN', num_groups=4), sign=dict(type='STE')),
        dict(norm_cfg=dict(type='BN', track_running_stats=False), conv_cfg=dict(type='Conv2d')),
    ],
)
def test_every_kind_of_network_is_packed(options, tmp_path):
    config = dict(type='BiRealResNet', depth=18, base_channels=8, **options)
    net = MODELS.build(config).eval()
    save_packed(net, config, tmp_path / 'net.safetensors')
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(load_packed(tmp_path / 'net.safetensors')(x)[-1], fold(net)(x)[-1])


def test_a_folded_network_is_packed_as_it_is(model, packed, tmp_path):
    save_packed(fold(model), CONFIG, tmp_path / 'again.safetensors')
    assert split(tmp_path / 'again.safetensors')[1] == split(packed)[1]


def test_a_network_in_float64_becomes_float32(model, tmp_path):
    save_packed(fold(model).double(), CONFIG, tmp_path / 'net.safetensors')
    state = load_packed(tmp_path / 'net.safetensors').state_dict()
    assert {value.dtype for value in state.values()} == {torch.float32, torch.uint8}


def test_the_preprocessor_comes_along(packed):
    assert load_packed(packed).data_preprocessor.mean.flatten().tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize('depth', [18, 50])
def test_a_backbone_alone_is_packed_too(depth, tmp_path):
    config = dict(type='BiRealResNet', depth=depth, base_channels=8)
    net = trained(MODELS.build(config))
    save_packed(net, config, tmp_path / 'net.safetensors')
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for got, want in zip(load_packed(tmp_path / 'net.safetensors')(x), fold(net)(x), strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize(('depth', 'megabytes'), [(18, 4.3), (34, 5.6)])
def test_the_papers_networks_fit_their_sizes(depth, megabytes, tmp_path):
    config = dict(
        type='BiRealClassifier', backbone=dict(type='BiRealResNet', depth=depth, out_indices=(3,)), num_classes=1000
    )
    size = save_packed(MODELS.build(config).eval(), config, tmp_path / 'net.safetensors')
    assert size <= megabytes * 1e6


def with_value(name, value):
    net = MODELS.build(CONFIG).eval()
    net.get_parameter(name).data.view(-1)[0] = value
    return net


@pytest.mark.parametrize(
    ('call', 'sentence'),
    [
        (
            lambda path: save_packed(with_value('fc.weight', torch.nan), CONFIG, path),
            'fc.weight .*hold NaN',
        ),
        (
            lambda path: save_packed(with_value('backbone.layer1.0.bn1.bias', torch.inf), CONFIG, path),
            'bn1.bias .*hold NaN',
        ),
        (
            lambda path: save_packed(with_value('fc.weight', 1e5), CONFIG, path, real_layers='f16'),
            'fc.weight has values too large for float16; store real layers in bf16',
        ),
        (
            lambda path: save_packed(with_value('fc.weight', 1), CONFIG, path, real_layers='int4'),
            "bf16, int8, not 'int4'",
        ),
        (
            lambda path: save_packed(with_value('fc.weight', 1), CONFIG, path.parent / 'a' / 'b'),
            'the folder .*a does not ex',
        ),
        (
            lambda path: save_packed(with_value('fc.weight', 1), {**CONFIG, 'num_classes': 11}, path),
            r'the model: its tensors .* its config describes: fc\.bias has shape \(10,\), not \(11,\) \(2 differ\)',
        ),
    ],
)
def test_what_cannot_be_stored_is_told_and_leaves_no_file(call, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        call(tmp_path / 'net.safetensors')
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_file_that_was_there(model, packed):
    before = packed.read_bytes()
    with pytest.raises(InputError, match='NaN'):
        save_packed(with_value('fc.weight', torch.nan), CONFIG, packed)
    assert packed.read_bytes() == before


def altered(name, change):
    """A change of one tensor."""

    def apply(tensors):
        tensors[name] = change(tensors[name])

    return apply


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (altered('backbone.layer1.0.conv1.packed_weight', lambda t: t.double()), 'has type float64 and must be uint8'),
        (altered('backbone.layer1.0.conv1.packed_weight', lambda t: t.long()), 'has type int64 and must be uint8'),
        (altered('backbone.layer1.0.conv1.scale', lambda t: t.half()), 'scale has type float16 and must be float32'),
        (altered('backbone.layer1.0.conv1.scale', lambda t: t * torch.nan), 'conv1.scale holds NaN or infinite values'),
        (altered('backbone.layer1.0.conv1.bias', lambda t: t + torch.inf), 'conv1.bias holds NaN or infinite values'),
        (altered('fc.weight', lambda t: t.to(torch.int8)), 'fc.weight has type int8 and must be float32'),
        (altered('fc.weight', lambda t: t[:, :-1].contiguous()), r'fc\.weight has shape \(10, 63\), not \(10, 64\)$'),
        (
            lambda tensors: tensors.update(spare=torch.zeros(1)),
            'its tensors are not those of the network it claims: spare is not one of them',
        ),
        (lambda tensors: tensors.pop('fc.bias'), r'fc\.bias is missing$'),
        (
            lambda tensors: tensors.update({f't{i}': torch.zeros(0) for i in range(20_001)}),
            r't0 is not one of them \(20001 differ\)',
        ),
    ],
)
def test_tensors_that_the_network_does_not_have_are_refused(packed, change, sentence):
    forged(packed, change=change)
    with pytest.raises(InputError, match=sentence):
        load_packed(packed)
