"""What passes between two signs, of small networks."""

import numpy as np
import torch
from torch import nn

from bireal_plugin.models import BiRealResNet
from bireal_plugin.studies.figures.feature_maps import MOST, count_values, feature_maps


class Network(nn.Module):
    """An mmengine model as far as ``feature_maps`` knows one."""

    def __init__(self, depth, **options):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = BiRealResNet(depth, base_channels=8, stem='cifar', out_indices=(0,), num_stages=1, **options)
        self.eval()

    def test_step(self, batch):
        return self.backbone(batch)


BATCH = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_branches_and_sums_are_those_between_the_blocks():
    model = Network(18)
    found = feature_maps(model, BATCH)
    assert [each.layer for each in found] == ['layer1.0.conv1', 'layer1.1.conv1', 'layer1.2.conv1']
    x = model.backbone.forward_stem(BATCH)
    block = model.backbone.layer1[0]
    branch = block.bn1(block.conv1(x)).detach().numpy()
    summed = branch + x.detach().numpy()
    channel = summed[0].reshape(8, -1).std(1).argmax()
    np.testing.assert_allclose(found[0].branch, branch[0, channel], rtol=1e-6)
    np.testing.assert_allclose(found[0].summed, summed[0, channel], rtol=1e-6)


def test_a_branch_has_few_values_and_a_sum_has_many():
    first = feature_maps(Network(18), BATCH)[0]
    # Inside, 72 products of +-1 add up to 73 values; windows at edges and corners, of 48 and 32, add none but evens.
    assert first.branch_values <= 73
    assert first.summed_values > 200


def test_without_shortcut_both_are_one():
    for each in feature_maps(Network(18, structure='plain'), BATCH):
        np.testing.assert_array_equal(each.branch, each.summed)
        assert each.branch_values == each.summed_values


def test_bottlenecks_have_as_many_columns_as_fit():
    found = feature_maps(Network(50), BATCH)
    assert len(found) == MOST
    assert found[0].layer == 'layer1.0.conv2'


def test_values_are_counted_without_rounding():
    values = np.array([0.0, 0.5, 0.5 + 1e-8, 1.0])
    assert count_values(values) == 3
    assert count_values(np.ones(4)) == 1
