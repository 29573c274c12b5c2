import copy
import pickle

import pytest
import timm
import torch
from timm.models import FeatureGraphNet
from timm.optim import create_optimizer_v2

import bireal_plugin
from bireal_plugin import InputError, Session, binarize
from bireal_plugin.binary import BinaryConv2d, set_activation, set_weights
from bireal_plugin.models import BiRealResNet

NAMES = timm.list_models('bireal*')


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152, 20, 32, 56])
def test_every_depth_is_a_timm_model_with_the_backbones_weights_and_fc(depth):
    assert f'bireal_resnet{depth}' in timm.list_models('bireal*')
    with torch.device('meta'):
        model, backbone = timm.create_model(f'bireal_resnet{depth}'), BiRealResNet(depth)
    assert set(model.state_dict()) - set(backbone.state_dict()) == {'fc.weight', 'fc.bias'}


@pytest.mark.parametrize('depth', [18, 50])
def test_logits_are_linear_in_the_pooled_backbone_features(depth):
    model = timm.create_model(f'bireal_resnet{depth}', num_classes=5, in_chans=1, base_channels=8).eval()
    x = torch.randn(2, 1, 64, 64)
    pooled = BiRealResNet.forward(model, x)[-1].mean((2, 3))
    torch.testing.assert_close(model(x), pooled @ model.fc.weight.T + model.fc.bias)
    torch.testing.assert_close(model.forward_head(model.forward_features(x), pre_logits=True), pooled)


@pytest.mark.parametrize('depth', [18, 50])
def test_features_only_gives_the_stem_and_the_backbones_stages(depth):
    torch.manual_seed(0)
    features = timm.create_model(f'bireal_resnet{depth}', features_only=True, base_channels=8).eval()
    full = BiRealResNet(depth, base_channels=8).eval()
    full.load_state_dict(features.model.state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 64)
    outputs = features(x)
    assert [o.shape[1] for o in outputs] == features.feature_info.channels()
    assert [64 // o.shape[-1] for o in outputs] == features.feature_info.reduction() == [2, 4, 8, 16, 32]
    torch.testing.assert_close(outputs[0], full.bn1(full.conv1(x)))
    for got, want in zip(outputs[1:], full(x), strict=True):
        torch.testing.assert_close(got, want)


def test_out_indices_prune_what_lies_behind():
    features = timm.create_model('bireal_resnet18', features_only=True, out_indices=(1, 2), base_channels=8)
    assert [o.shape[1] for o in features(torch.randn(1, 3, 64, 64))] == [8, 16]
    assert not any('layer3' in name for name, _ in features.named_parameters())


@pytest.mark.parametrize('stop_early', [False, True])
def test_forward_intermediates_by_index(stop_early):
    model = timm.create_model('bireal_resnet18', base_channels=8).eval()
    x = torch.randn(1, 3, 64, 64)
    got = model.forward_intermediates(x, indices=[1, 2], intermediates_only=True, stop_early=stop_early)
    for a, b in zip(got, BiRealResNet.forward(model, x)[:2], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('deep_stem', [False, True])
@pytest.mark.parametrize('name', timm.list_models('bireal*'))
def test_a_classifier_is_put_on_a_trunk_that_was_made_without(name, deep_stem):
    model = timm.create_model(name, deep_stem=deep_stem, num_classes=0, base_channels=4).bfloat16()
    model.reset_classifier(10)
    assert model.forward_head(torch.ones(1, model.num_features, 2, 2, dtype=torch.bfloat16)).shape == (1, 10)


def test_drop_rate_acts_in_training_only():
    torch.manual_seed(0)
    model = timm.create_model('bireal_resnet18', base_channels=8, drop_rate=0.5)
    pooled = torch.ones(1, model.num_features, 2, 2)
    assert not torch.equal(model.train().forward_head(pooled), model.forward_head(pooled))
    assert torch.equal(model.eval().forward_head(pooled), model.forward_head(pooled))


def test_gradient_checkpointing_is_switched_on():
    model = timm.create_model('bireal_resnet18', base_channels=8)
    model.set_grad_checkpointing()
    model(torch.randn(2, 3, 64, 64)).sum().backward()
    assert model.with_cp
    assert model.layer1[0].conv1.weight.grad is not None


def test_data_config_is_the_papers_test_transform():
    config = timm.data.resolve_model_data_config(timm.create_model('bireal_resnet18', base_channels=8))
    assert (config['input_size'], config['crop_pct'], config['mean']) == (
        (3, 224, 224),
        0.875,
        (0.485, 0.456, 0.406),
    )


def test_group_matcher_orders_every_parameter():
    model = timm.create_model('bireal_resnet50', base_channels=8)
    groups = timm.models.group_parameters(model, model.group_matcher())
    assert sum(len(names) for names in groups.values()) == len(list(model.named_parameters()))


def created(name, **options):
    torch.manual_seed(0)
    return timm.create_model(name, base_channels=8, **options)


def images(size=64, channels=3):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(1))


class TestTimmsOwnCalls:
    """The calls of timm's tests of every model: shapes and names are those that the default config promises."""

    @pytest.mark.parametrize('name', NAMES)
    def test_forward_and_backward(self, name):
        model = created(name, num_classes=42).train()
        outputs = model(images(128))
        outputs.mean().backward()
        assert outputs.shape == (2, 42)
        assert not outputs.isnan().any()
        assert [key for key, p in model.named_parameters() if p.grad is None] == []

    @pytest.mark.parametrize('deep_stem', [False, True])
    @pytest.mark.parametrize('name', NAMES)
    def test_default_config(self, name, deep_stem):
        model = created(name, deep_stem=deep_stem).eval()
        config, names = model.default_cfg, set(model.state_dict())
        assert {f'{config["classifier"]}.weight', f'{config["first_conv"]}.weight'} <= names
        assert model.state_dict()[f'{config["first_conv"]}.weight'].shape[1] == 3
        with torch.no_grad():
            x = torch.randn(1, *config['input_size'])
            assert model.forward_features(x).shape[2:] == config['pool_size']
            model.reset_classifier(0)
            assert model(x).shape == (1, model.num_features)
            model.reset_classifier(0, '')
            assert model(x).shape == (1, model.num_features, *config['pool_size'])
            model.reset_classifier(4, 'avg')
            assert model(x).shape == (1, 4)
            assert created(name, num_classes=0, global_pool='')(x).shape[2:] == config['pool_size']

    @pytest.mark.parametrize('name', NAMES)
    def test_features(self, name):
        model = created(name, features_only=True).eval()
        outputs = model(images(96))
        assert [o.shape[1] for o in outputs] == model.feature_info.channels()
        assert [96 // o.shape[2] for o in outputs] == model.feature_info.reduction()

    @pytest.mark.parametrize('name', NAMES)
    def test_intermediates(self, name):
        model, x = created(name).eval(), images()
        output, features = model.forward_intermediates(x)
        assert torch.equal(output, model.forward_features(x))
        assert [f.shape[1] for f in features] == [info['num_chs'] for info in model.feature_info]
        kept = model.prune_intermediate_layers([1, 3])
        pruned = model.forward_intermediates(x, indices=kept, intermediates_only=True)
        assert all(torch.equal(a, features[i]) for a, i in zip(pruned, (1, 3), strict=True))
        assert torch.equal(model(x), features[3])
        assert model.num_features == features[3].shape[1]
        model.prune_intermediate_layers([0])
        assert torch.equal(model(x), features[0])

    @pytest.mark.parametrize('name', ['bireal_resnet18', 'bireal_resnet50'])
    def test_symbolic_trace(self, name):
        model, x = created(name).train(), images()
        graph = FeatureGraphNet(model, out_indices=(1, 4))
        graph(x)[1].mean().backward()
        assert sum(p.grad is not None for p in graph.parameters()) == len(list(model.parameters())) - 2
        assert torch.equal(graph.eval()(x)[1], model.eval().forward_features(x))

    @pytest.mark.parametrize('name', NAMES)
    def test_classifier(self, name):
        model = created(name, global_pool='max')
        assert model.get_classifier() is model.get_submodule(model.get_classifier(name_only=True))
        model.eval().reset_classifier(4)
        assert (model.global_pool.pool_type, model.fc.out_features, model.fc.training) == ('max', 4, False)
        x = images()
        features = model.forward_features(x)
        assert torch.equal(model.forward_head(features, pre_logits=True), features.amax((2, 3)))
        model.reset_classifier(4, 'catavgmax')
        assert model.head_hidden_size == model.fc.in_features == 2 * model.num_features
        assert model(x).shape == (2, 4)


@pytest.mark.parametrize('name', ['bireal_resnet18', 'bireal_resnet50'])
def test_timms_optimizers_do_not_decay_latent_weights(name):
    model = created(name)
    latent = {id(m.weight) for m in model.modules() if isinstance(m, BinaryConv2d)}

    def decayed():
        groups = create_optimizer_v2(model, 'sgd', lr=0.1, weight_decay=0.1).param_groups
        return {id(p) for group in groups for p in group['params'] if group['weight_decay']}

    assert model.no_weight_decay() == {key for key, p in model.named_parameters() if id(p) in latent}
    assert not latent & decayed()
    assert id(model.fc.weight) in decayed()
    set_activation(model, 'clip')
    set_weights(model, 'real')
    assert latent < decayed()


def test_nor_those_of_a_network_that_was_binarized():
    model = timm.create_model('resnet18', num_classes=3)
    binarize(model)
    for net in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        latent = {id(m.weight) for m in net.modules() if isinstance(m, BinaryConv2d)}
        groups = create_optimizer_v2(net, 'sgd', lr=0.1, weight_decay=0.1).param_groups
        decayed = {id(p) for group in groups for p in group['params'] if group['weight_decay']}
        assert len(latent) == 16
        assert not latent & decayed
        assert id(net.fc.weight) in decayed


@pytest.mark.parametrize('output_stride', [32, 16, 8])
@pytest.mark.parametrize('name', ['bireal_resnet18', 'bireal_resnet50'])
def test_output_stride(name, output_stride):
    """As timm's ResNet: the same map sizes and weights, and the receptive field by dilation."""
    model = created(name, output_stride=output_stride).eval()
    stock = timm.create_model(name.removeprefix('bireal_'), output_stride=output_stride)
    assert [i['reduction'] for i in model.feature_info] == [i['reduction'] for i in stock.feature_info]
    assert model.forward_features(images(96)).shape[2:] == stock.forward_features(images(96)).shape[2:]
    assert model.state_dict().keys() == created(name).state_dict().keys()
    if name == 'bireal_resnet50':
        dilations = [[block.conv2.dilation for block in net.layer4] for net in (model, stock)]
        assert dilations[0] == dilations[1]


def test_output_stride_and_strides_contradict():
    with pytest.raises(InputError, match='give output_stride=16 or strides, not both'):
        created('bireal_resnet18', output_stride=16, strides=(1, 2, 2, 1))
    with pytest.raises(InputError, match='output_stride=4 is not one of 8, 16, 32'):
        created('bireal_resnet18', output_stride=4)


@pytest.mark.parametrize('options', [{}, dict(in_chans=1, stem='cifar'), dict(deep_stem=True, output_stride=16)])
@pytest.mark.parametrize('name', ['bireal_resnet18', 'bireal_resnet50'])
def test_a_packed_file_needs_no_config_by_hand(name, options, tmp_path):
    model = created(name, **options).eval()
    model.reset_classifier(4, 'max')
    x = images(channels=options.get('in_chans', 3))
    path = bireal_plugin.export(model, 'packed', x.shape, path=tmp_path / 'net.safetensors')
    with torch.no_grad(), Session(path) as session:
        torch.testing.assert_close(torch.from_numpy(session(x.numpy())[0]), model(x), rtol=1e-4, atol=1e-4)
    assert torch.equal(bireal_plugin.load(path)(x), bireal_plugin.fold(model, x.shape)(x))
