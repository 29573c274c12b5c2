"""Operators that mmcv has for GPUs alone, through mmcv's own functions, against formulas written here."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

DEVICES = [
    'cpu',
    pytest.param('cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU that torch can use')),
]


@pytest.fixture(autouse=True)
def ours(with_our_operators):
    torch.manual_seed(0)
    with with_our_operators():
        yield


def focal_loss(scores, target, gamma, alpha, weight):
    """As in the paper of RetinaNet: -alpha_t (1 - p_t)^gamma log(p_t)."""
    one_hot = F.one_hot(target, scores.shape[1] + 1)[:, :-1]
    p = scores.double().sigmoid()
    p_t = torch.where(one_hot == 1, p, 1 - p)
    loss = -torch.where(one_hot == 1, alpha, 1 - alpha) * (1 - p_t) ** gamma * p_t.log()
    return loss if weight is None else loss * torch.cat([weight, weight.new_ones(1)])[target, None]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('weighted', [False, True], ids=['', 'weighted'])
def test_sigmoid_focal_loss_and_its_gradient(device, reduction, weighted):
    from mmcv.ops import sigmoid_focal_loss

    scores = (torch.randn(50, 7, device=device) * 3).requires_grad_()
    target = torch.randint(0, 8, (50,), device=device)  # 7 is background
    weight = torch.rand(7, device=device) if weighted else None
    expected = focal_loss(scores, target, 2.5, 0.3, weight)
    expected = dict(none=expected, mean=expected.sum() / 50, sum=expected.sum())[reduction]
    found = sigmoid_focal_loss(scores, target, 2.5, 0.3, weight, reduction)
    torch.testing.assert_close(found, expected.float())
    gradients = [torch.autograd.grad(loss.sum(), scores)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_focal_loss_of_a_saturated_score_is_not_cut_off():
    from mmcv.ops import sigmoid_focal_loss

    scores = torch.tensor([[200.0, -200.0]])
    loss = sigmoid_focal_loss(scores, torch.tensor([1]), 2.0, 0.25, None, 'none')
    torch.testing.assert_close(loss, torch.tensor([[0.75 * 200, 0.25 * 200]]))


@pytest.mark.parametrize('device', DEVICES)
def test_multi_scale_attention_and_its_gradient(device):
    """A point at the middle of a pixel takes that pixel; gradients are those of differences."""
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    shapes = torch.tensor([[3, 4], [2, 2]], device=device)
    starts = torch.tensor([0, 12], device=device)
    value = torch.randn(1, 16, 1, 5, dtype=torch.float64, device=device)
    middle = torch.tensor([(2 + 0.5) / 4, (1 + 0.5) / 3], dtype=torch.float64, device=device)
    locations = middle.expand(1, 1, 1, 2, 1, 2).clone()
    weights = torch.tensor([0.75, 0.0], dtype=torch.float64, device=device).view(1, 1, 1, 2, 1)
    output = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    torch.testing.assert_close(output[0, 0], 0.75 * value[0, 1 * 4 + 2, 0])

    places = torch.rand(1, 2, 1, 2, 3, 2, dtype=torch.float64, device=device).requires_grad_()
    attention = torch.rand(1, 2, 1, 2, 3, dtype=torch.float64, device=device).requires_grad_()

    def attend(value, places, attention):
        return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, places, attention, 64)

    assert gradcheck(attend, (value.requires_grad_(), places, attention))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(('kernel', 'padding'), [(3, 1), ((1, 3), (0, 1)), (1, 0)])
def test_masked_convolution_is_the_convolution_at_the_places_of_the_mask(device, kernel, padding):
    from mmcv.ops import MaskedConv2d

    conv = MaskedConv2d(3, 4, kernel, padding=padding).to(device)
    x, mask = torch.randn(1, 3, 9, 7, device=device), torch.rand(1, 9, 7, device=device) > 0.6
    everywhere = F.conv2d(x, conv.weight, conv.bias, padding=padding)
    torch.testing.assert_close(conv(x, mask.float()), everywhere * mask[:, None])
    assert not conv(x, torch.zeros_like(mask)).any()


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('offset', [0, 1])
def test_nms_counts_legacy_pixels(device, offset):
    """Of two boxes one px wide and two px high, one lower by a px: 1/3 is shared, or 4/8 if both ends count."""
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0, 1, 2], [0.0, 1, 1, 3]], device=device)
    scores = torch.tensor([0.5, 0.9], device=device)
    assert nms(boxes, scores, 0.4, offset=offset)[1].tolist() == ([1] if offset else [1, 0])


@pytest.mark.parametrize('device', DEVICES)
def test_roi_align_takes_means_or_the_largest_of_its_samples(device):
    """Two bins of a region of 2 x 4 px, with samples in the middles of the px."""
    from mmcv.ops import roi_align

    maps = torch.arange(24.0, device=device).view(1, 1, 4, 6).requires_grad_()
    rois = torch.tensor([[0.0, 1, 1, 5, 3]], device=device)
    picked = torch.tensor([[7.0, 8, 13, 14], [9.0, 10, 15, 16]], device=device)
    found = {mode: roi_align(maps, rois, (1, 2), 1.0, 2, mode, True) for mode in ('avg', 'max')}
    torch.testing.assert_close(found['avg'][0, 0, 0], picked.mean(dim=1))
    torch.testing.assert_close(found['max'][0, 0, 0], picked.max(dim=1).values)
    (gradient,) = torch.autograd.grad(found['max'].sum(), maps)
    assert gradient.flatten().nonzero()[:, 0].tolist() == [14, 16]


@pytest.mark.parametrize('device', DEVICES)
def test_deformable_convolution_moves_its_samples(device):
    """Offsets of whole pixels, the same everywhere, move the image."""
    from mmcv.ops import deform_conv2d

    x, weight = torch.randn(1, 2, 8, 8, device=device), torch.randn(3, 2, 1, 1, device=device)
    offset = torch.tensor([1.0, -2.0], device=device).view(1, 2, 1, 1).expand(1, 2, 8, 8).contiguous()
    moved = F.pad(x, (2, 0, 0, 1))[:, :, 1:, :8]
    torch.testing.assert_close(deform_conv2d(x, offset, weight), F.conv2d(moved, weight))
