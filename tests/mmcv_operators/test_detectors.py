"""mmdet's detectors with a Bi-Real-18 and our operators: their loss, its gradient, and boxes."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

mmdet = pytest.importorskip('mmdet', reason='mmdet, of the extra det, is not installed')

from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.mask import BitmapMasks  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402

SOFT_NMS = {'model.test_cfg.rcnn.nms.type': 'soft_nms'}
# The config, and what is changed in it.
DETECTORS = {
    'RetinaNet': ('retinanet/retinanet_r50_fpn_1x_coco', {}),
    'FCOS': ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco', {}),
    'ATSS': ('atss/atss_r50_fpn_1x_coco', {}),
    'GFL': ('gfl/gfl_r50_fpn_1x_coco', {}),
    'Faster R-CNN': ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco', {}),
    'Faster R-CNN, soft-NMS': ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco', SOFT_NMS),
    'Mask R-CNN': ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco', {}),
    'Cascade R-CNN': ('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco', {}),
    'Sparse R-CNN': ('sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco', {}),
    'DETR': ('detr/detr_r50_8xb2-150e_coco', {}),
    'Deformable DETR': ('deformable_detr/deformable-detr_r50_16xb2-50e_coco', {}),
    'PISA (NMS with groups)': ('pisa/faster-rcnn_r50_fpn_pisa_1x_coco', {}),
    'TOOD (deformable convolution)': ('tood/tood_r50_fpn_1x_coco', {}),
    'DyHead (masks of offsets)': ('dyhead/atss_r50_fpn_dyhead_1x_coco', {}),
    'Guided anchoring (masked convolution)': ('guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco', {}),
}
SIDE, CHANNELS = 64, 8
# Heads as small as the images, which have two classes.
HEADS = dict(num_classes=4, fc_out_channels=64, feedforward_channels=64)


@pytest.fixture(scope='module')
def samples():
    """Two images with a square each, bright on dark."""
    register_all_modules(init_default_scope=False)
    images, samples = torch.zeros(2, 3, SIDE, SIDE), []
    for number, (low, high) in enumerate([(8, 40), (20, 56)]):
        images[number, :, low:high, low:high] = 1.0
        shapes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), (SIDE, SIDE))
        sample = DetDataSample(metainfo=dict(scale_factor=(1.0, 1.0), **shapes))
        masks = BitmapMasks(np.uint8(images[number, :1].numpy()), SIDE, SIDE)
        box = torch.tensor([[low, low, high, high]], dtype=torch.float32)
        sample.gt_instances = InstanceData(bboxes=box, labels=torch.tensor([number]), masks=masks)
        sample.ignored_instances = InstanceData(bboxes=torch.empty(0, 4), labels=torch.empty(0, dtype=torch.long))
        samples.append(sample)
    return images, samples


def narrow(node):
    """Put ``HEADS`` into a config, however deep."""
    if isinstance(node, dict):
        node.update({key: value for key, value in HEADS.items() if key in node})
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            narrow(child)


@pytest.fixture(params=DETECTORS)
def detector(request, monkeypatch, samples):
    """mmdet's own config, with a narrow Bi-Real-18 where its ResNet-50 stood."""
    path, changes = DETECTORS[request.param]
    monkeypatch.chdir(Path(mmdet.__file__).parent / '.mim')
    config = Config.fromfile(f'configs/{path}.py')
    config.merge_from_dict(changes)
    model = config.model
    stages = model.backbone.get('out_indices', (0, 1, 2, 3))
    model.backbone = dict(type='BiRealResNet', depth=18, base_channels=CHANNELS, out_indices=stages)
    for part in (model.test_cfg, model.test_cfg.get('rcnn') or {}):
        part.update(score_thr=0.0, max_per_img=5)  # untrained scores are low
    model.neck = [model.neck] if isinstance(model.neck, dict) else model.neck
    model.neck[0]['in_channels'] = [CHANNELS * 2**stage for stage in stages]
    narrow(model)
    torch.manual_seed(0)
    detector = MODELS.build(ConfigDict(model, _scope_='mmdet'))
    detector.init_weights()
    return detector


@pytest.mark.slow
def test_a_detector_trains_and_finds_boxes(detector, samples, with_our_operators):
    images, truth = samples
    MessageHub.get_current_instance().update_info('epoch', 5)  # TOOD assigns boxes by itself from the fifth on
    with with_our_operators():
        detector.train()
        losses = detector.loss(images, copy.deepcopy(truth))
        total, _ = detector.parse_losses(losses)
        total.backward()
        detector.eval()
        with torch.no_grad():
            found = detector.predict(images[:1], copy.deepcopy(truth[:1]))[0].pred_instances
    assert torch.isfinite(total)
    assert total > 0
    latent = detector.backbone.layer1[0].conv1.weight
    assert torch.isfinite(latent.grad).all()
    assert latent.grad.any()
    assert len(found) > 0
    assert torch.isfinite(found.bboxes).all()
    assert (found.scores.diff() <= 0).all()
