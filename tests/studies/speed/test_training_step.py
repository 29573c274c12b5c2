import pytest
import torch

from bireal_plugin.binary import binary_convolutions
from bireal_plugin.studies.speed.training_step import Measurement, Setting, build, measure, peak_memory, table

TINY = Setting(batch=2, size=(32, 32))


def test_all_sides_have_the_same_parameters():
    shapes = [{name: p.shape for name, p in build(side, 18).named_parameters()} for side in ('float', 'ours', 'mask')]
    assert shapes[0] == shapes[1] == shapes[2]


def test_the_mask_formulation_is_the_same_network():
    """Outputs and gradients agree, so the two are timed for the same work."""
    torch.manual_seed(0)
    images, labels = torch.randn(2, 3, 64, 64), torch.tensor([1, 2])
    gradients = []
    for side in ('ours', 'mask'):
        model = build(side, 18).double()
        model(images.double(), labels, mode='loss')['loss'].backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, ours in gradients[0].items():
        torch.testing.assert_close(ours, gradients[1][name], rtol=1e-6, atol=1e-9)


def test_the_float_twin_has_nothing_binary():
    convs = [conv for _, conv in binary_convolutions(build('float', 18))]
    assert len(convs) == 16
    assert not any(conv.binary_input or conv.binary_weight for conv in convs)


@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own():
    ballast = torch.ones(2**28)  # 1 GiB here, in MiB 1024, must not show there
    assert ballast.sum() > 0
    assert 100 < peak_memory('ours', TINY, steps=1) < 1024


def test_times_are_of_every_side():
    rows = measure(TINY, steps=2, warm_up=1)
    assert [row.side for row in rows] == ['float', 'ours', 'mask']
    assert all(0 < row.fastest_ms <= row.median_ms <= row.slowest_ms for row in rows)


def test_ratios_in_the_table():
    rows = [
        Measurement('float', 100.0, 90.0, 120.0, 1000.0),
        Measurement('ours', 110.0, 100.0, 130.0, 1050.0),
        Measurement('mask', 400.0, 390.0, 410.0, 3000.0),
    ]
    cells = [cell.strip() for cell in table(Setting(), rows)[1].split('|')[1:-1]]
    assert cells == ['cpu, f32, eager', 'ours', '110 (100 to 130)', '145.5', '1.10', '0.28', '1050', '1.05']
