import pytest
import timm
import torch

import bireal_plugin  # noqa: F401  registers the entry points
from bireal_plugin.models import BiRealResNet


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
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


def test_reset_classifier():
    model = timm.create_model('bireal_resnet18', base_channels=8)
    model.reset_classifier(3)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 3)
    model.reset_classifier(0)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, model.num_features)
    model.reset_classifier(4)
    assert model.get_classifier().out_features == 4


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
