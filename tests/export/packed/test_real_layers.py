"""Real weights in fewer bits: what is stored, and what is read again."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from safetensors.torch import load_file

from bireal_plugin.export.packed.file import load_packed, save_packed
from bireal_plugin.folding.fold import fold
from tests.export.forged import CONFIG
from tests.folding.test_fold import trained


@pytest.fixture(scope='module')
def model():
    return trained(MODELS.build(CONFIG))


@pytest.mark.parametrize(('precision', 'tolerance'), [('f16', 2e-3), ('bf16', 2e-2)])
def test_real_layers_in_two_bytes_are_their_rounded_selves(model, precision, tolerance, tmp_path):
    full, half = tmp_path / 'full.safetensors', tmp_path / 'half.safetensors'
    assert save_packed(model, CONFIG, half, real_layers=precision) < save_packed(model, CONFIG, full)
    loaded, exact = load_packed(half).state_dict(), load_packed(full).state_dict()
    for name, value in exact.items():
        assert loaded[name].dtype == value.dtype
        torch.testing.assert_close(loaded[name], value, rtol=tolerance, atol=1e-6)


def test_real_layers_in_int8_are_symmetric_steps_of_each_output_channel(model, tmp_path):
    path = tmp_path / 'net.safetensors'
    save_packed(model, CONFIG, path, real_layers='int8')
    tensors, loaded, exact = load_file(path), load_packed(path).state_dict(), fold(model).state_dict()
    compressed = [name for name, value in tensors.items() if value.dtype is torch.int8]
    assert len(compressed) == 5  # the stem, three shortcuts and the classifier
    for name, value in exact.items():
        if name not in compressed:
            assert torch.equal(loaded[name], value)
            continue
        weight = value.numpy().astype(np.float64).reshape(len(value), -1)
        scale = (np.abs(weight).max(1) / 127).astype(np.float32)
        steps = np.divide(weight, scale[:, None], out=np.zeros_like(weight), where=scale[:, None] > 0)
        restored = np.rint(steps).clip(-127, 127).astype(np.float32) * scale[:, None]
        assert np.array_equal(loaded[name].numpy().reshape(restored.shape), restored)
        assert (np.abs(restored - weight) <= 0.5001 * scale[:, None]).all()


@pytest.mark.parametrize('row', [torch.zeros(4), torch.full((4,), 1e-45), torch.tensor([3e38, -3e38, 1e-3, 0.0])])
def test_int8_takes_rows_of_zeros_and_of_extremes(row, tmp_path):
    net = MODELS.build(CONFIG).eval()
    net.fc.weight.data[0, :4] = row
    net.fc.weight.data[0, 4:] = 0
    save_packed(net, CONFIG, tmp_path / 'net.safetensors', real_layers='int8')
    got = load_packed(tmp_path / 'net.safetensors').fc.weight[0, :4]
    torch.testing.assert_close(got, row, rtol=1e-6, atol=max(row.abs().max().item() / 253, 1e-44))


@pytest.mark.parametrize(('kind', 'bits'), [('f16', 16), ('bf16', 16), ('int8', 8)])
def test_smaller_real_layers_save_just_their_bits(model, kind, bits, tmp_path):
    full, small = tmp_path / 'full.safetensors', tmp_path / 'small.safetensors'
    save_packed(model, CONFIG, full)
    save_packed(model, CONFIG, small, real_layers=kind)
    sizes = [sum(value.numel() * value.element_size() for value in load_file(path).values()) for path in (full, small)]
    folded = fold(model).state_dict()
    weights = [value for name, value in folded.items() if name.endswith('.weight')]
    scales = sum(4 * len(value) for value in weights) if kind == 'int8' else 0
    assert sizes[0] - sizes[1] == sum(value.numel() for value in weights) * (32 - bits) // 8 - scales
