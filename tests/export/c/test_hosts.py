"""Networks that are not ours alone: of torchvision, of timm, and those that see depth."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from mmengine.registry import MODELS

import bireal_plugin
import bireal_plugin.depth
from bireal_plugin.export.c.engine import CSession, export_c
from bireal_plugin.folding.fold import fold
from tests.export.c.compilers import needs_compiler
from tests.folding.test_fold import trained

pytestmark = needs_compiler


def check(net, shape, folder):
    torch.manual_seed(0)
    net, x = fold(trained(net), shape), torch.randn(shape)
    with torch.no_grad():
        want = net(x).numpy()
    with CSession(export_c(net, folder / 'net.c', shape), threads=1) as session:
        (got,) = session(x)
    assert np.ptp(want) > 0.1
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize('head', [dict(type='FCNSkipHead'), dict(type='UNetHead'), dict(type='UNetHead', binary=True)])
def test_a_depth_network_gives_the_disparities_of_torch(head, tmp_path):
    torch.manual_seed(0)
    backbone = dict(type='BiRealResNet', depth=18, base_channels=8)
    net = MODELS.build(dict(type='DepthNetwork', backbone=backbone, head=head, loss=dict(type='GargLoss')))
    scores = net.head.scores if head['type'] == 'FCNSkipHead' else net.head.outputs
    for score in scores:  # which are zero until they are trained
        torch.nn.init.normal_(score.weight)
    check(net, (1, 3, 64, 96), tmp_path)


def test_a_binarized_resnet_of_torchvision_gives_its_logits(tmp_path):
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=10)
    bireal_plugin.binarize(net)
    check(net, (1, 3, 48, 32), tmp_path)


def test_a_network_of_timm_gives_its_logits(tmp_path):
    torch.manual_seed(0)
    check(timm.create_model('bireal_resnet18', num_classes=10), (1, 3, 32, 48), tmp_path)
