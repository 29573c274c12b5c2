"""The shipped detection configs, small enough for a test, on twelve photographs of COCO."""

import json
import shutil

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY

# The plan of the twelve epochs is the shipped one. Boxes only: coco_mini has no masks.
SMALL = """
_base_ = '{repository}/configs/detection/{name}_bireal_r18_fpn_1x_coco.py'
data_root = '{coco}/'
model = dict(
    backbone=dict(base_channels=8, init_cfg=None),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=32),
    **{heads})
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (192, 128)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (192, 128)
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False,
                        dataset=dict(data_root=data_root, pipeline=train_pipeline, serialize_data=False))
val_dataloader = dict(num_workers=0, persistent_workers=False,
                      dataset=dict(data_root=data_root, pipeline=test_pipeline, serialize_data=False))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json', outfile_prefix='{folder}/run/trained')
test_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json', outfile_prefix='{folder}/run/reloaded')
train_cfg = dict(val_interval=12)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=2e-3))
param_scheduler = []
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=12))
log_processor = dict(window_size=1)
randomness = dict(seed=0)
visualizer = dict(name='{name}')
"""
ONE_STAGE = dict(
    bbox_head=dict(in_channels=32, feat_channels=32, stacked_convs=1),
    test_cfg=dict(score_thr=0.0, nms_pre=100, max_per_img=20),
)
HEADS = dict(
    retinanet=ONE_STAGE,
    fcos=ONE_STAGE,
    faster_rcnn=dict(
        rpn_head=dict(in_channels=32, feat_channels=32),
        roi_head=dict(bbox_roi_extractor=dict(out_channels=32), bbox_head=dict(in_channels=32, fc_out_channels=64)),
        train_cfg=dict(rpn_proposal=dict(nms_pre=100, max_per_img=50), rcnn=dict(sampler=dict(num=64))),
        test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=50), rcnn=dict(score_thr=0.0, max_per_img=20)),
    ),
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module', params=HEADS)
def trained(request, run_tool, shared_data, tmp_path_factory):
    """The folder of a detector after its twelve epochs, with its checkpoint and the dumped config."""
    pytest.importorskip('mmdet')
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    config = folder / 'small.py'
    content = SMALL.format(
        repository=REPOSITORY, name=name, coco=shared_data / 'coco_mini', folder=folder, heads=HEADS[name]
    )
    config.write_text(content)
    ended = run_tool('train.py', config, '--work-dir', folder / 'run')
    assert ended.status == 0, ended.err
    return folder / 'run'


def scalars(folder):
    return [json.loads(line) for line in next(folder.rglob('scalars.json')).read_text().splitlines()]


def boxes(path):
    """``(n, 7)``: image, category, score and box as ``[x, y, width, height]``."""
    return np.array([(p['image_id'], p['category_id'], p['score'], *p['bbox']) for p in json.loads(path.read_text())])


def test_loss_falls_while_the_backbone_becomes_binary(trained):
    losses = [row['loss'] for row in scalars(trained) if 'loss' in row]
    assert len(losses) == 12 * 3
    assert np.mean(losses[-3:]) < 0.85 * np.mean(losses[:3])


def test_backbone_ends_with_weights_of_plus_or_minus_one(trained):
    state = torch.load(trained / 'epoch_12.pth', weights_only=True)['state_dict']
    binary = [value for name, value in state.items() if 'backbone.layer' in name and name.endswith('conv1.weight')]
    assert len(binary) == 16
    assert all(torch.equal(weight.abs(), torch.ones_like(weight)) for weight in binary)


def test_reloaded_checkpoint_predicts_the_same_boxes_and_precision(run_tool, trained):
    checkpoint, metrics = trained / 'epoch_12.pth', trained / 'metrics.json'
    ended = run_tool('test.py', trained / 'small.py', checkpoint, '--work-dir', trained / 'test', '--out', metrics)
    assert ended.status == 0, ended.err
    reloaded = boxes(trained / 'reloaded.bbox.json')
    np.testing.assert_array_equal(reloaded, boxes(trained / 'trained.bbox.json'))
    assert len(np.unique(reloaded[:, 0])) == 12
    measured = json.loads(metrics.read_text())
    assert 'coco/bbox_mAP' in measured
    assert measured.items() <= scalars(trained)[-1].items()


@pytest.mark.parametrize('given', [False, True], ids=['without CONFIG', 'with CONFIG'])
def test_a_checkpoint_elsewhere_tests_exports_and_verifies_as_itself(run_tool, trained, tmp_path, given):
    """Images of several sizes are exported for the scale of the pipeline's Resize, rounded up."""
    away, metrics = tmp_path / 'net.pth', tmp_path / 'metrics.json'
    shutil.copy(trained / 'epoch_12.pth', away)
    words = [trained / 'small.py', away] if given else [away]
    ended = run_tool('test.py', *words, '--work-dir', tmp_path / 'test', '--out', metrics)
    assert ended.status == 0, ended.err
    assert json.loads(metrics.read_text()).items() <= scalars(trained)[-1].items()
    options = ['--part', 'backbone', '--format', 'packed', '--out', tmp_path, '--verify', '--images', 2]
    ended = run_tool('export.py', *words, *options)
    assert ended.status == 0, ended.err
    assert 'for inputs 1x3x128x192 (as ' in ended.out
    assert ' verified' in ended.out
