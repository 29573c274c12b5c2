"""switch_to_deploy() on the backbone, the classifier, and on the backbone inside detectors of mmdet."""

import copy
import json

import cv2
import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.errors import InputError
from bireal_plugin.folding.fold import fold
from bireal_plugin.folding.layers import FoldedBinaryConv2d
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from tests.conftest import REPOSITORY
from tests.export.c.compilers import needs_compiler
from tests.folding.test_fold import trained

OPTIONS = [
    {},
    dict(frozen_stages=2, norm_eval=True, with_cp=True),
    dict(deep_stem=True, style='caffe', out_indices=(1, 3)),
    dict(rsign=True, rprelu=True),
    dict(norm_cfg=dict(type='GN', num_groups=4)),
]


def features(net, x):
    with torch.no_grad():
        return net(x)


def counts(net):
    return [sum(isinstance(m, kind) for m in net.modules()) for kind in (BinaryConv2d, nn.BatchNorm2d)]


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('depth', [18, 50])
def test_a_switched_backbone_has_the_same_features(depth, options):
    net = trained(BiRealResNet(depth, base_channels=8, **options)).double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    expected = features(net, x)
    net.switch_to_deploy()
    assert net.deploy
    assert counts(net) == [0, 0]
    for got, want in zip(features(net, x), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('options', OPTIONS)
def test_train_leaves_a_switched_backbone_in_evaluation_mode_without_gradients(options):
    net = trained(BiRealResNet(18, base_channels=8, **options))
    net.switch_to_deploy()
    host = nn.Sequential(net).train()
    assert host.training
    assert not any(module.training for module in net.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_switching_twice_changes_nothing():
    net = BiRealResNet(18, base_channels=8)
    net.switch_to_deploy()
    modules = dict(net.named_modules())
    net.switch_to_deploy()
    assert all(module is modules[name] for name, module in net.named_modules())


@pytest.mark.parametrize('options', [{}, dict(conv='XNORConv2d'), dict(conv='ABCConv2d')])
def test_weights_of_a_switched_network_load_into_one_built_and_switched_alike(options):
    net, other = (trained(BiRealResNet(18, base_channels=8, **options), seed) for seed in (0, 1))
    net.switch_to_deploy()
    other.switch_to_deploy()
    other.load_state_dict(net.state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 64)
    for got, want in zip(features(other, x), features(net, x), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize('strict', [True, False])
def test_weights_from_before_the_switch_are_refused_behind_it(strict):
    net = BiRealResNet(18, base_channels=8)
    weights = net.state_dict()
    net.switch_to_deploy()
    with pytest.raises(
        InputError, match=r'load these weights first, and then fold\(\) it or call switch_to_deploy\(\)'
    ):
        net.load_state_dict(weights, strict=strict)


@pytest.mark.parametrize('options', [dict(weights='real'), dict(activation='clip')])
def test_a_network_that_is_not_binary_yet_is_refused_and_unchanged(options):
    model = BiRealClassifier(BiRealResNet(18, base_channels=8, **options), 10)
    before = counts(model)
    with pytest.raises(InputError, match=r'layer1\.0\.conv1 is not binary yet'):
        model.switch_to_deploy()
    assert counts(model) == before
    assert not model.deploy
    assert not model.backbone.deploy
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_classifier_predicts_the_same_and_its_linear_layer_still_trains():
    net = BiRealResNet(18, base_channels=8, out_indices=(3,), frozen_stages=1, with_cp=True)
    model = trained(BiRealClassifier(net, 10, drop_rate=0.5))
    x, labels = torch.randn(4, 3, 64, 64), torch.arange(4)
    folded = fold(model)
    model.switch_to_deploy()
    model.switch_to_deploy()
    assert (model.deploy, model.backbone.deploy, model.training) == (True, True, False)
    assert torch.equal(features(model, x), features(folded, x))
    model.train()
    model(x, labels, mode='loss')['loss'].backward()
    trainable = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert (model.dropout.training, trainable) == (True, {'fc.weight', 'fc.bias'})


def test_a_timm_model_is_switched_too():
    net = trained(timm.create_model('bireal_resnet18', base_channels=8, num_classes=5)).double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    expected = features(net, x)
    net.switch_to_deploy()
    torch.testing.assert_close(features(net, x), expected, rtol=1e-3, atol=1e-3)


# Detectors: narrow, untrained, with the statistics and scales that training could have left.

HEADS = dict(in_channels=32, feat_channels=32, stacked_convs=1)
TEST = dict(score_thr=0.0, nms_pre=100, max_per_img=30)


def detector(name, **backbone):
    """A detector of the shipped configs, one eighth as wide."""
    pytest.importorskip('mmdet')
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    model = Config.fromfile(REPOSITORY / f'configs/detection/{name}_bireal_r18_fpn_1x_coco.py').model
    model.backbone.update(dict(base_channels=8, init_cfg=None, **backbone))
    model.neck.update(dict(in_channels=[8, 16, 32, 64], out_channels=32))
    model.bbox_head.update(HEADS)
    model.test_cfg.update(TEST)
    torch.manual_seed(0)
    model = trained(MODELS.build(model))
    for module in model.bbox_head.modules():
        if isinstance(module, nn.Conv2d):  # so that scores are neither 0 nor 1
            nn.init.normal_(module.weight, 0, 0.02)
    return model


def predictions(model, image):
    """``(n, 6)`` of one image ``(H, W, 3)``, uint8: box in pixels, score and label."""
    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(img_shape=image.shape[:2], scale_factor=(1.0, 1.0), ori_shape=image.shape[:2]))
    data = dict(inputs=[torch.from_numpy(image.transpose(2, 0, 1).copy())], data_samples=[sample])
    with torch.no_grad():
        found = model.test_step(data)[0].pred_instances
    return torch.cat([found.bboxes, found.scores[:, None], found.labels[:, None].float()], 1)


def images(kind, request):
    if kind == 'random':
        return [np.random.default_rng(seed).integers(0, 256, (128, 160, 3), dtype=np.uint8) for seed in range(3)]
    folder = request.getfixturevalue('shared_data') / 'coco_mini'
    names = [
        row['file_name'] for row in json.loads((folder / 'annotations/instances_val2017.json').read_text())['images']
    ]
    return [cv2.resize(cv2.imread(str(folder / 'val2017' / name)), (160, 128)) for name in names[:4]]


@pytest.fixture(scope='module', params=['torch', pytest.param('c', marks=needs_compiler), 'openvino'])
def target(request):
    return request.param


@pytest.fixture(
    scope='module', params=[{}, dict(frozen_stages=1, norm_eval=True, with_cp=True)], ids=['plain', 'frozen']
)
def backbone(request):
    return request.param


@pytest.fixture(scope='module', params=['retinanet', 'fcos'])
def detectors(request, target, backbone):
    """A detector, and a copy of it whose backbone is switched."""
    model = detector(request.param, **backbone)
    deployed = copy.deepcopy(model)
    deployed.backbone.switch_to_deploy(target)
    return model, deployed


@pytest.mark.parametrize('kind', ['random', 'photographs'])
def test_a_detector_with_a_switched_backbone_predicts_the_same_boxes(detectors, kind, request):
    model, deployed = detectors
    assert sum(isinstance(module, FoldedBinaryConv2d) for module in deployed.modules()) == 16
    for image in images(kind, request):
        want = predictions(model, image)
        assert len(want) == 30
        torch.testing.assert_close(predictions(deployed, image), want, rtol=1e-3, atol=1e-2)


ENGINES = [pytest.param('c', marks=needs_compiler), 'openvino']
TWO_STAGES = dict(base_channels=8, num_stages=2, out_indices=(0, 1))


def switched(engine, **options):
    torch.manual_seed(2)
    net = trained(BiRealResNet(18, **TWO_STAGES, **options))
    x = torch.randn(2, 3, 64, 96)
    expected = features(fold(net, x.shape), x)
    net.switch_to_deploy(engine)
    return net, x, expected


def check_features(net, x, expected):
    for got, want in zip(features(net, x), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('engine', ENGINES)
def test_an_engine_runs_the_whole_backbone(engine):
    net, x, expected = switched(engine, rprelu=True)
    check_features(net, x, expected)
    check_features(net, x[:1], [each[:1] for each in expected])
    assert len(net.engine_run.runs) == 1
    check_features(net.train(), x[:, :, :32, :32], features(without_engine(net), x[:, :, :32, :32]))
    assert len(net.engine_run.runs) == 2


def without_engine(net):
    plain = copy.deepcopy(net)
    plain.switch_to_deploy()
    return plain


@pytest.mark.parametrize('engine', ENGINES)
def test_weights_that_are_loaded_later_are_compiled_again(engine):
    net, x, _ = switched(engine)
    features(net, x)
    other = trained(BiRealResNet(18, **TWO_STAGES), seed=5)
    other.switch_to_deploy()
    net.load_state_dict(other.state_dict())
    check_features(net, x, features(other, x))


def test_a_layer_that_is_put_in_later_is_compiled_too():
    net, x, _ = switched('c')
    features(net, x)
    net.layer1[0] = copy.deepcopy(net.layer1[1])
    check_features(net, x, features(without_engine(net), x))


@pytest.mark.parametrize('engine', ENGINES)
def test_copies_and_files_of_a_network_on_an_engine(engine, tmp_path):
    net, x, expected = switched(engine)
    features(net, x)
    check_features(copy.deepcopy(net), x, expected)
    torch.save(net, tmp_path / 'net.pt')
    check_features(torch.load(tmp_path / 'net.pt', weights_only=False), x, expected)


def test_an_unknown_engine_changes_nothing():
    net = trained(BiRealResNet(18, base_channels=8))
    with pytest.raises(InputError, match="engine='tensorrt' is not one of 'torch', 'c', 'openvino', 'onnx'"):
        net.switch_to_deploy('tensorrt')
    assert not net.deploy


def test_a_classifier_passes_the_engine_to_its_backbone():
    model = BiRealClassifier(trained(BiRealResNet(18, base_channels=8, out_indices=(3,))), 7).eval()
    x = torch.randn(2, 3, 64, 64)
    expected = features(fold(model, x.shape), x)
    model.switch_to_deploy('openvino')
    torch.testing.assert_close(features(model, x), expected, rtol=1e-4, atol=1e-4)
    assert model.backbone.engine_run.engine == 'openvino'


def test_a_whole_detector_is_folded_through_its_forward():
    model = detector('retinanet')
    x = torch.randn(1, 3, 64, 64)
    folded = fold(model, x.shape)
    assert counts(folded) == [0, 0]
    for got, want in zip(features(folded, x), features(model, x), strict=True):
        for one, other in zip(got, want, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
