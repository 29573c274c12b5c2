"""tools/train.py and tools/test.py on configs without stages: plain mmengine, and mmdet with a Bi-Real backbone."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config


@pytest.fixture(scope='module')
def plain_config(tiny_config, tmp_path_factory):
    """An ordinary config: a binary network, one Runner, three epochs."""
    config = Config.fromfile(tiny_config)
    config.pop('stages')
    config.train_cfg.max_epochs = 3
    config.optim_wrapper.optimizer.lr = 0.02
    config.param_scheduler.milestones = [2]
    path = tmp_path_factory.mktemp('plain') / 'plain.py'
    config.dump(path)
    return path


@pytest.fixture(scope='module')
def plain_run(run_tool, plain_config):
    """The folder of an uninterrupted run of it."""
    folder = plain_config.parent / 'uninterrupted'
    ended = run_tool('train.py', plain_config, '--work-dir', folder)
    assert ended.status == 0, ended.err
    return folder


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def assert_same_weights(path, other):
    ours, theirs = weights(path), weights(other)
    assert {name for name in theirs if not torch.equal(ours[name], theirs[name])} == set()


def test_the_last_checkpoint_holds_what_was_measured_with_its_weights(plain_run):
    log = next(plain_run.rglob('scalars.json')).read_text()
    last = [json.loads(line) for line in log.splitlines()][-1]
    trained = torch.load(plain_run / 'epoch_3.pth', weights_only=True)['meta']['trained']
    assert trained['metrics'] == {key: last[key] for key in ('accuracy/top1', 'accuracy/top5')}


def test_resume_continues_in_the_work_directory(run_tool, plain_config, plain_run, tmp_path):
    folder = tmp_path / 'moved'
    shutil.copytree(plain_run, folder)
    (folder / 'epoch_3.pth').unlink()
    run_tool('train.py', plain_config, '--work-dir', folder, '--resume')
    assert_same_weights(folder / 'epoch_3.pth', plain_run / 'epoch_3.pth')


def test_resume_continues_from_a_file(run_tool, plain_config, plain_run, tmp_path):
    run_tool('train.py', plain_config, '--work-dir', tmp_path, '--resume', plain_run / 'epoch_2.pth')
    assert_same_weights(tmp_path / 'epoch_3.pth', plain_run / 'epoch_3.pth')


def test_resume_of_nothing_starts_from_load_from(run_tool, plain_config, plain_run, tmp_path):
    """A job that is restarted automatically passes --resume from its first start on."""
    options = (f'load_from={plain_run}/epoch_3.pth', 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=0.0')
    run_tool('train.py', plain_config, '--work-dir', tmp_path, '--resume', '--cfg-options', *options)
    ours, theirs = weights(tmp_path / 'epoch_1.pth'), weights(plain_run / 'epoch_3.pth')
    assert torch.equal(ours['backbone.conv1.weight'], theirs['backbone.conv1.weight'])


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--resume', 'BEST'], 'has no optimizer and cannot be resumed (best_* checkpoints hold the weights alone)'),
        (['--resume', 'absent.pth'], 'checkpoint absent.pth does not exist'),
        (['--stage', 'bn'], 'plain.py has no stages'),
        (['--cfg-options', 'optim_wrapper.optimizer.type=SDG'], 'SDG is not in the mmengine::optimizer registry'),
        (['--cfg-options', 'param_scheduler.type=Steps'], 'Steps is not in the mmengine::parameter scheduler registry'),
        (['--cfg-options', 'train_cfg.max_epoch=3'], 'max_epoch'),
        (['--cfg-options', 'val_evaluator.type=Top1'], 'Top1 is not in the mmengine::metric registry'),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '',
)
def test_mistake_is_one_sentence(run_tool, plain_config, plain_run, tmp_path, arguments, words):
    best = next(plain_run.glob('best_*.pth'))
    arguments = [best if argument == 'BEST' else argument for argument in arguments]
    ended = run_tool('train.py', plain_config, '--work-dir', tmp_path, *arguments)
    assert (ended.status, ended.err.count('\n')) == (1, 1)
    assert ended.err.startswith('error: ')
    assert words in ended.err


def test_accuracy_is_measured_again(run_tool, plain_config, plain_run, tmp_path):
    arguments = (plain_config, plain_run / 'epoch_3.pth', '--work-dir', tmp_path, '--out', tmp_path / 'metrics.json')
    run_tool('test.py', *arguments)
    log = next(plain_run.rglob('scalars.json')).read_text()
    last = [json.loads(line) for line in log.splitlines()][-1]
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics == {key: last[key] for key in ('accuracy/top1', 'accuracy/top5')}


DETECTOR = """
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', 'mmdet::_base_/datasets/coco_detection.py',
          'mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['bireal_plugin'], allow_failed_imports=False)
data_root = '{coco}/'
model = dict(
    backbone=dict(_delete_=True, type='BiRealResNet', depth=18, base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=8),
    bbox_head=dict(in_channels=8, feat_channels=8, stacked_convs=1),
    test_cfg=dict(score_thr=0.0, nms_pre=20))
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (96, 64)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (96, 64)
train_dataloader = dict(num_workers=0, persistent_workers=False,
                        dataset=dict(data_root=data_root, indices=4, pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False,
                      dataset=dict(data_root=data_root, indices=4, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
"""


@pytest.fixture(scope='module')
def detector_run(run_tool, shared_data, tmp_path_factory):
    """Config and folder of a RetinaNet with a Bi-Real backbone after one epoch on four photographs."""
    pytest.importorskip('mmdet')
    folder = tmp_path_factory.mktemp('detector')
    config = folder / 'retinanet.py'
    config.write_text(DETECTOR.format(coco=shared_data / 'coco_mini'))
    ended = run_tool('train.py', config, '--work-dir', folder / 'run')
    assert ended.status == 0, ended.err
    return config, folder / 'run'


def test_detector_checkpoint_holds_a_trained_bireal_backbone(detector_run):
    state = weights(detector_run[1] / 'epoch_1.pth')
    assert state['backbone.layer1.3.conv1.weight'].shape == (8, 8, 3, 3)
    assert state['backbone.layer1.3.bn1.num_batches_tracked'] == 2


def test_detector_resumes(run_tool, detector_run, tmp_path):
    config, folder = detector_run
    option = 'train_cfg.max_epochs=2'
    resumed = ('--resume', folder / 'epoch_1.pth', '--cfg-options', option)
    run_tool('train.py', config, '--work-dir', tmp_path, *resumed)
    assert weights(tmp_path / 'epoch_2.pth')['backbone.layer1.3.bn1.num_batches_tracked'] == 4


def test_detector_precision_is_measured_again(run_tool, detector_run, tmp_path):
    config, folder = detector_run
    arguments = (config, folder / 'epoch_1.pth', '--work-dir', tmp_path, '--out', tmp_path / 'metrics.json')
    run_tool('test.py', *arguments)
    log = next(folder.rglob('scalars.json')).read_text()
    last = [json.loads(line) for line in log.splitlines()][-1]
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics == {key: last[key] for key in metrics}
    assert 'coco/bbox_mAP' in metrics


def test_auto_scale_lr_of_a_detector(run_tool, detector_run, tmp_path):
    # mmdet names its visualizer, and mmengine keeps one of a name per process, which would write to the first folder.
    option = 'visualizer.name=scaled'
    config, folder = detector_run
    run_tool('train.py', config, '--work-dir', tmp_path, '--auto-scale-lr', '--cfg-options', option)
    logs = [next(each.rglob('scalars.json')).read_text() for each in (folder, tmp_path)]
    rate, scaled = (json.loads(log.splitlines()[0])['lr'] for log in logs)
    assert scaled == pytest.approx(rate * 2 / 16)
