"""The depth configs: what each stage trains, and one recipe from its first stage to its last."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from bireal_plugin.binary import binary_convolutions
from bireal_plugin.depth.networks.heads import FCNSkipHead
from bireal_plugin.training.config import load_config
from bireal_plugin.training.recipe import check_stages, stage_config, stage_model

CONFIGS = Path(__file__).parents[2] / 'configs' / 'depth'
NAMES = sorted(path.stem for path in CONFIGS.glob('*.py'))
COLUMNS = {
    'kitti': ('float_r50_kitti', 'binarynet_r50_kitti', 'bireal_r50_kitti'),
    'street': ('float_r18_street', 'binarynet_r18_street', 'bireal_r18_street'),
}


def config_of(name):
    return load_config(str(CONFIGS / f'{name}.py'))


def models(name):
    """The network of each stage, without memory."""
    config = config_of(name)
    with torch.device('meta'):
        return {stage: stage_model(config, stage) for stage in config.stages}


@pytest.mark.parametrize('name', NAMES)
def test_every_stage_can_be_built(name):
    config = config_of(name)
    if 'street' not in name:
        config.pop('val_dataloader')  # its data is not here
    check_stages(config)


@pytest.mark.parametrize('name', NAMES)
def test_the_first_stage_is_real_and_the_last_what_the_name_says(name):
    built = list(models(name).values())
    states = [{(c.binary_input, c.binary_weight) for _, c in binary_convolutions(model)} for model in built]
    assert states[0] == {(False, False)}
    assert states[-1] == {(False, False) if name.startswith('float') else (True, True)}


@pytest.mark.parametrize('columns', COLUMNS.values(), ids=COLUMNS)
def test_the_columns_differ_in_the_backbone_alone(columns):
    """Data, head, loss and the schedule of the real stage; also of the second one where the float twin has one."""
    configs = [config_of(name) for name in columns]
    for config in configs[1:]:
        for part in ('train_dataloader', 'val_dataloader', 'val_evaluator'):
            assert config[part] == configs[0][part]
        for part in ('head', 'loss', 'data_preprocessor'):
            assert config.model[part] == configs[0].model[part]
        for ours, theirs in zip(config.stages, configs[0].stages, strict=False):
            for part in ('train_cfg', 'param_scheduler'):
                assert stage_config(config, ours)[part] == stage_config(configs[0], theirs)[part]


@pytest.mark.parametrize('name', COLUMNS['kitti'])
def test_schedule_is_the_papers(name):
    config = config_of(name)
    for stage in (stage_config(config, stage) for stage in config.stages):
        assert (stage.train_cfg.max_iters, stage.param_scheduler.milestones) == (60_000, [30_000])
        assert (stage.optim_wrapper.optimizer.lr, stage.param_scheduler.gamma) == (1e-3, 0.1)
        assert (stage.train_dataloader.batch_size, stage.train_dataloader.dataset.size) == (10, (160, 608))
        assert not stage.train_dataloader.dataset.get('flip')
    for model in models(name).values():
        assert isinstance(model.head, FCNSkipHead)
        assert model.backbone.depth == 50


@pytest.mark.parametrize('name', [name for pair in COLUMNS.values() for name in pair if name.startswith('binarynet')])
def test_binarynet_has_plain_signs_and_the_clip_as_surrogate(name):
    last = list(models(name).values())[-1]
    kinds = {
        (type(conv.surrogate).__name__, type(conv.weight_binarizer).__name__) for _, conv in binary_convolutions(last)
    }
    assert kinds == {('STE', 'Sign')}


@pytest.fixture(scope='module')
def tiny_street(run_tool, as_run, tmp_path_factory):
    """The street recipe on 8 pairs of 32 x 96 px, three epochs per stage."""
    folder = tmp_path_factory.mktemp('street')
    config = folder / 'tiny_street.py'
    config.write_text(f"""
_base_ = {str(CONFIGS / 'bireal_r18_street.py')!r}
model = dict(backbone=dict(base_channels=8), head=dict(channels=(16, 8, 8)))
train_dataloader = dict(batch_size=4, dataset=dict(length=8, size=(32, 96)))
val_dataloader = dict(batch_size=4, dataset=dict(length=4, size=(32, 96)))
train_cfg = dict(val_interval=1)
stages = dict(real=dict(train_cfg=dict(max_epochs=3)), binary=dict(train_cfg=dict(max_epochs=3)))
""")
    return as_run(folder / 'run', run_tool('train.py', config, '--work-dir', folder / 'run'))


def test_the_street_recipe_ends_with_the_metrics_of_its_last_stage(tiny_street):
    assert [(row['name'], row['epochs']) for row in tiny_street.results] == [('real', 3), ('binary', 3)]
    for row in tiny_street.results:
        assert 0 <= row['depth/delta1'] <= row['depth/delta2'] <= row['depth/delta3'] <= 1
        assert row['depth/abs_rel'] > 0


def test_the_loss_of_every_iteration_is_kept(tiny_street):
    losses = tiny_street.checkpoint('real')['message_hub']['curves']['train/loss']['values']
    assert losses.shape == (6,)
    assert torch.isfinite(losses).all()


def test_the_best_checkpoint_by_delta1_is_kept(tiny_street):
    for stage in ('real', 'binary'):
        assert len(list((tiny_street.folder / stage).glob('best_depth_delta1_epoch_*.pth'))) == 1


def test_configs_are_short():
    """What differs from the base, nothing else."""
    for name in NAMES:
        assert len((CONFIGS / f'{name}.py').read_text().splitlines()) <= 20
        assert Config.fromfile(str(CONFIGS / f'{name}.py')).custom_imports.imports == ['bireal_plugin.depth']


@pytest.mark.slow
def test_the_kitti_recipe_trains_on_real_pairs(run_tool, as_run, shared_data, tmp_path):
    """Two iterations per stage, narrow and small, on the three pairs of a real drive that has a laser scan."""
    frames = tmp_path / 'list.txt'
    frames.write_text(''.join(f'2011_09_26/2011_09_26_drive_0048_sync {index} l\n' for index in range(3)))
    config = tmp_path / 'tiny_kitti.py'
    config.write_text(f"""
_base_ = {str(CONFIGS / 'bireal_r50_kitti.py')!r}
data_root = {str(shared_data / 'kitti' / 'raw')!r}
model = dict(backbone=dict(base_channels=8))
dataset = dict(split={str(frames)!r}, size=(64, 192))
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dataset)
val_dataloader = dict(num_workers=0, dataset=dataset)
train_cfg = dict(max_iters=2)
default_hooks = dict(checkpoint=dict(interval=2))
""")
    run = as_run(tmp_path / 'run', run_tool('train.py', config, '--work-dir', tmp_path / 'run'))
    assert [(row['name'], row['iterations']) for row in run.results] == [('real', 2), ('binary', 2)]
    assert all(0 < row['depth/abs_rel'] < math.inf for row in run.results)
    # Learning the factors a hundred times slower than the rest, Adam moves each by 1e-5 an iteration at most.
    moved = (run.weights('real')['head.factors'] - torch.tensor([1e-2, 1e-4, 1e-5])).abs()
    assert 0 < moved.max() <= 2.1e-5
