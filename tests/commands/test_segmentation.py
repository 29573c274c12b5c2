"""The shipped segmentation configs, small enough for a test, on rendered squares and discs."""

import json

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image

from bireal_plugin.models import BiRealResNet
from bireal_plugin.training.config import load_config
from tests.conftest import REPOSITORY

pytest.importorskip('mmseg', reason='mmseg is not installed')

NAMES = ('fcn', 'deeplabv3')
SIZE, IMAGES = 64, 8
# The shipped plan of 80 000 iterations, at a thousandth.
SMALL = """
_base_ = '{repository}/configs/segmentation/{name}_bireal_r18_d8_80k_cityscapes.py'
data_root = '{data}'
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=({size}, {size})),
    backbone=dict(base_channels=8),
    decode_head=dict(in_channels=64, channels=16),
    auxiliary_head=dict(in_channels=32, channels=16))
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False,
                        dataset=dict(data_root=data_root, pipeline=pipeline, serialize_data=False))
val_dataloader = dict(num_workers=0, persistent_workers=False,
                      dataset=dict(data_root=data_root, pipeline=pipeline, serialize_data=False,
                                   data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=80, val_interval=80)
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = []
custom_hooks = _base_.custom_hooks
custom_hooks[0].update(step1=20, step2=32, bn=76)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=80))
log_processor = dict(window_size=1)
randomness = dict(seed=0)
visualizer = dict(name='{name}')
"""


def draw(folder):
    """Images of a red square and a green disc on a noisy ground, which are three of Cityscapes' classes here."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for i in range(IMAGES):
        labels = np.zeros((SIZE, SIZE), np.uint8)
        (top, middle), (left, centre) = generator.integers(16, SIZE - 16, (2, 2))
        labels[(abs(rows - top) < 12) & (abs(columns - left) < 12)] = 1
        labels[(rows - middle) ** 2 + (columns - centre) ** 2 < 144] = 2
        colours = np.array([[90, 90, 90], [200, 60, 60], [60, 200, 60]])
        noisy = colours[labels] + generator.integers(-30, 31, (SIZE, SIZE, 3))
        for part, name, pixels in (('leftImg8bit', 'leftImg8bit', noisy), ('gtFine', 'gtFine_labelTrainIds', labels)):
            path = folder / part / 'train' / 'town' / f'town_{i}_{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope='module', params=NAMES)
def trained(request, run_tool, tmp_path_factory):
    """The folder of a network after its 80 iterations."""
    folder = tmp_path_factory.mktemp(request.param)
    draw(folder / 'data')
    config = folder / 'small.py'
    config.write_text(SMALL.format(repository=REPOSITORY, name=request.param, data=folder / 'data', size=SIZE))
    ended = run_tool('train.py', config, '--work-dir', folder / 'run')
    assert ended.status == 0, ended.err
    return folder / 'run'


@pytest.mark.parametrize('name', NAMES)
def test_the_output_stride_is_8_and_the_weights_have_a_place(name):
    from mmseg.registry import MODELS
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    config = load_config(f'{name}_bireal_r18_d8_80k_cityscapes')
    assert config.model.pretrained == 'open-mmlab://resnet18_v1c'
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build({**config.model, 'pretrained': None}).eval()
        stock = MODELS.build({**config.model.backbone, 'type': 'ResNet'})
    stock.eval()  # which returns nothing
    assert isinstance(model.backbone, BiRealResNet)
    with torch.no_grad():
        ours, theirs = (net(torch.zeros(1, 3, 97, 130)) for net in (model.backbone, stock))
    assert [each.shape for each in ours] == [each.shape for each in theirs]
    assert tuple(ours[-1].shape[2:]) == (13, 17)  # of 97 x 130 by 8


def rows(folder):
    return [json.loads(line) for line in next(folder.rglob('scalars.json')).read_text().splitlines()]


@pytest.mark.slow
def test_it_learns_while_the_backbone_becomes_binary(trained):
    losses = [row['decode.loss_ce'] for row in rows(trained) if 'decode.loss_ce' in row]
    assert len(losses) == 80
    assert np.mean(losses[-8:]) < 0.5 * np.mean(losses[:8])
    state = torch.load(trained / 'iter_80.pth', weights_only=True)['state_dict']
    binary = [value for name, value in state.items() if 'backbone.layer' in name and name.endswith('conv1.weight')]
    assert len(binary) == 16
    assert all(torch.equal(weight.abs(), torch.ones_like(weight)) for weight in binary)


@pytest.mark.slow
def test_a_reloaded_checkpoint_has_the_same_iou(run_tool, trained):
    metrics = trained / 'metrics.json'
    ended = run_tool('test.py', trained / 'iter_80.pth', '--work-dir', trained / 'test', '--out', metrics)
    assert ended.status == 0, ended.err
    measured = json.loads(metrics.read_text())
    assert measured['mIoU'] > 40  # ground alone is 28
    assert measured.items() <= rows(trained)[-1].items()
