"""Our operators beside mmcv's compiled ones, both called by mmcv; where only mmcv-lite is installed this is skipped."""

import pytest
import torch

pytestmark = pytest.mark.usefixtures('compiled')


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def random_boxes(count, *, whole):
    """Boxes of at least a pixel, and scores; many are equal where ``whole``."""
    boxes = torch.rand(count, 4) * 100
    boxes[:, 2:] = boxes[:, :2] + 1 + torch.rand(count, 2) * 60
    scores = torch.rand(count)
    return (boxes.round(), (scores * 20).round() / 20) if whole else (boxes, scores)


@pytest.mark.parametrize('whole', [False, True], ids=['any boxes', 'whole pixels and equal scores'])
@pytest.mark.parametrize('offset', [0, 1])
def test_nms_keeps_the_same_boxes_in_the_same_order(with_our_operators, offset, whole):
    from mmcv.ops import nms

    for count in [0, 1, *torch.randint(2, 300, (10,)).tolist()]:
        boxes, scores = random_boxes(count, whole=whole)
        for threshold in (0.0, 0.3, 0.5, 0.7, 1.0):
            expected = nms(boxes, scores, threshold, offset=offset)
            with with_our_operators():
                found = nms(boxes, scores, threshold, offset=offset)
            assert all(map(torch.equal, found, expected)), (count, threshold)


@pytest.mark.parametrize('whole', [False, True], ids=['any boxes', 'whole pixels and equal scores'])
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms_keeps_the_same_boxes_in_the_same_order(with_our_operators, method, offset, whole):
    from mmcv.ops import soft_nms

    for count in [0, 1, *torch.randint(2, 80, (8,)).tolist()]:
        boxes, scores = random_boxes(count, whole=whole)
        for min_score in (0.001, 0.2):
            options = dict(iou_threshold=0.3, sigma=0.5, min_score=min_score, method=method, offset=offset)
            expected, order = soft_nms(boxes, scores, **options)
            with with_our_operators():
                found, ours = soft_nms(boxes, scores, **options)
            assert torch.equal(ours, order), (count, min_score)
            torch.testing.assert_close(found, expected)


def test_nms_match_groups_the_same_boxes(with_our_operators):
    from mmcv.ops import nms_match

    for count in torch.randint(1, 100, (10,)).tolist():
        boxes, scores = random_boxes(count, whole=count % 2 == 0)
        dets = torch.cat([boxes, scores[:, None]], dim=1)
        expected = nms_match(dets, 0.4)
        with with_our_operators():
            found = nms_match(dets, 0.4)
        assert [group.tolist() for group in found] == [group.tolist() for group in expected]


def agree(with_our_operators, function, *inputs):
    """Compare the output and the gradients of all ``inputs`` that have one."""
    inputs = [value.requires_grad_() if value is not None and value.is_floating_point() else value for value in inputs]
    learned = [value for value in inputs if value is not None and value.requires_grad]

    def results():
        output = function(*inputs)
        weights = torch.linspace(-1, 1, output.numel()).view_as(output)
        return output, *torch.autograd.grad((output * weights).sum(), learned, allow_unused=True)

    expected = results()
    with with_our_operators():
        found = results()
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('samples', [0, 2])
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align_and_its_gradient(with_our_operators, mode, samples, aligned):
    from mmcv.ops import roi_align

    for _ in range(8):
        corners = torch.rand(9, 2) * 200 - 20
        corners = torch.cat([corners, corners + torch.rand(9, 2) * 180], dim=1)
        rois = torch.cat([torch.randint(0, 2, (9, 1)), corners], dim=1)
        agree(
            with_our_operators,
            lambda maps, rois=rois: roi_align(maps, rois, (7, 5), 1 / 8, samples, mode, aligned),
            torch.randn(2, 3, 23, 31),
        )


@pytest.mark.parametrize(
    ('stride', 'padding', 'dilation', 'groups', 'offset_groups'),
    [
        (1, 1, 1, 1, 1),
        (2, 1, 1, 2, 1),
        ((2, 1), (0, 2), (1, 2), 1, 2),
        (1, 2, 2, 2, 2),
    ],
)
def test_deformable_convolutions_and_their_gradients(
    with_our_operators, stride, padding, dilation, groups, offset_groups
):
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d

    geometry = (stride, padding, dilation, groups, offset_groups)
    x, weight, bias = torch.randn(2, 4, 11, 13), torch.randn(6, 4 // groups, 3, 3), torch.randn(6)
    rows, columns = torch.nn.functional.conv2d(x, weight, None, stride, padding, dilation, groups).shape[2:]
    offset = torch.randn(2, offset_groups * 18, rows, columns) * 2
    mask = torch.rand(2, offset_groups * 9, rows, columns)
    agree(with_our_operators, lambda *inputs: deform_conv2d(*inputs, *geometry), x, offset, weight)
    with_bias = lambda *inputs: modulated_deform_conv2d(*inputs, *geometry)  # noqa: E731
    agree(with_our_operators, with_bias, x, offset, mask, weight, bias)
    larger = [torch.randn(2, offset_groups * channels, rows + 3, columns + 2) for channels in (18, 9)]
    agree(with_our_operators, with_bias, x, *larger, weight, bias)
    without_bias = lambda *inputs: modulated_deform_conv2d(*inputs, None, *geometry)  # noqa: E731
    agree(with_our_operators, without_bias, x, offset, mask, weight)
