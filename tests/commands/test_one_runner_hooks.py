"""The one-Runner hooks where users meet them: several processes, and a config of mmdet."""

import pytest
import torch

# One run of seven epochs through all phases; `stages` of the base are not used.
ONE_RUN = """
_base_ = {tiny!r}
stages = None
custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='WeightsProbe'),
    dict(type='TwoStepBinarizationHook', step1=2, step2=3, bn=5, activations=dict(relu=0, clip=1)),
    dict(type='MagnitudeAwareHook', interval=5),
]
train_cfg = dict(max_epochs=6)
"""


@pytest.fixture(scope='module')
def two_processes(start_ranks, tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('one_run')
    config = folder / 'one_run.py'
    config.write_text(ONE_RUN.format(tiny=str(tiny_config)))
    options = ('--cfg-options', 'train_dataloader.batch_size=16')
    for rank in start_ranks('train.py', config, '--work-dir', folder / 'run', *options):
        ended = rank.ended()
        assert ended.status == 0, ended.err[-3000:]
    return folder / 'run'


@pytest.mark.slow
def test_ranks_agree_after_every_switch(two_processes):
    first, second = (torch.load(two_processes / f'last_{rank}.pth', weights_only=True) for rank in (0, 1))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.slow
def test_weights_end_as_plus_or_minus_one_in_two_processes(two_processes):
    state = torch.load(two_processes / 'epoch_6.pth', weights_only=True)['state_dict']
    binary = [value for name, value in state.items() if name.endswith('conv1.weight') and 'layer' in name]
    assert len(binary) == 16
    assert set(torch.cat([value.flatten() for value in binary]).unique().tolist()) == {-1.0, 1.0}


@pytest.mark.slow
def test_every_switch_is_in_the_log(two_processes):
    log = next(two_processes.glob('*/*.log')).read_text()
    phases = [line.split('Hook: ')[1] for line in log.splitlines() if 'TwoStepBinarizationHook: ' in line]
    assert phases == [
        'relu from epoch 1',
        'clip from epoch 2',
        'step1 from epoch 3',
        'step2 from epoch 4',
        'bn from epoch 6',
    ]


DETECTOR = """
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', 'mmdet::_base_/datasets/coco_detection.py',
          'mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['bireal_plugin', 'tests.probe_hooks'], allow_failed_imports=False)
data_root = '{coco}/'
model = dict(
    backbone=dict(_delete_=True, type='BiRealResNet', depth=50, base_channels=4, norm_eval={norm_eval}),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=8),
    bbox_head=dict(in_channels=8, feat_channels=8, stacked_convs=1))
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (96, 64)
train_dataloader = dict(num_workers=0, persistent_workers=False,
                        dataset=dict(data_root=data_root, indices=4, pipeline=train_pipeline))
val_dataloader = None
val_cfg = None
val_evaluator = None
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=6)
param_scheduler = []
optim_wrapper = dict(constructor='BinaryOptimWrapperConstructor')
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=6))
visualizer = dict(name='{name}')
custom_hooks = [
    dict(type='TwoStepBinarizationHook', step1=0, step2=2, bn=4, by_epoch=False),
    dict(type='MagnitudeAwareHook', interval=2),
]
"""


@pytest.fixture
def detector(shared_data, tmp_path):
    pytest.importorskip('mmdet')

    def write(*, norm_eval):
        path = tmp_path / 'retinanet.py'
        content = DETECTOR.format(coco=shared_data / 'coco_mini', norm_eval=norm_eval, name=tmp_path.name)
        path.write_text(content)
        return path

    return write


def test_the_hooks_run_unchanged_in_an_mmdet_config(run_tool, detector, tmp_path):
    ended = run_tool('train.py', detector(norm_eval=False), '--work-dir', tmp_path / 'run')
    assert ended.status == 0, ended.err
    state = torch.load(tmp_path / 'run' / 'iter_6.pth', weights_only=True)['state_dict']
    assert set(state['backbone.layer2.0.conv2.weight'].unique().tolist()) == {-1.0, 1.0}
    assert len(state['backbone.layer1.0.conv1.weight'].unique()) > 2  # the first 1x1 convolution is real
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    for phase, iteration in (('step1', 1), ('step2', 3), ('bn', 5)):
        assert f'TwoStepBinarizationHook: {phase} from iteration {iteration}' in log
    assert 'weights/backbone.layer1.0.conv2/alpha' in next((tmp_path / 'run').rglob('scalars.json')).read_text()


def test_a_detector_with_frozen_statistics_is_told_that_bn_would_do_nothing(run_tool, detector, tmp_path):
    ended = run_tool('train.py', detector(norm_eval=True), '--work-dir', tmp_path / 'run')
    assert ended.status == 1
    assert 'it is frozen; set norm_eval=False' in ended.err
    assert len(ended.err.strip().splitlines()) == 1
