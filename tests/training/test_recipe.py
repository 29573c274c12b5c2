"""A mistake anywhere in a recipe is found before its first stage trains."""

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from bireal_plugin import InputError
from bireal_plugin.training import check_stages
from bireal_plugin.training.recipe import stage_config

CONFIG = 'configs/bireal_r18_digits.py'


@pytest.mark.parametrize(
    ('mistake', 'sentence'),
    [
        ({'model.backbone.activatoin': 'sign'}, 'unexpected keyword argument .activatoin.'),
        ({'model.backbone.type': 'BiRealNet'}, 'BiRealNet is not in the mmengine::model registry'),
        ({'model.backbone.weight': 'Magnitude'}, "unknown weight binarizer 'Magnitude'"),
        ({'optim_wraper.optimizer.lr': 0.1}, 'nothing reads optim_wraper'),
        ({'optim_wrapper.optimizer.type': 'SDG'}, 'SDG is not in the mmengine::optimizer registry'),
        ({'optim_wrapper.optimizer.momntum': 0.9}, 'unexpected keyword argument .momntum.'),
        ({'optim_wrapper.paramwise_cfg.bn.lr_mult': 0.0}, 'the groups are binary_conv'),
        ({'param_scheduler.type': 'MultiStep'}, 'MultiStep is not in the mmengine::parameter scheduler registry'),
        ({'param_scheduler.milestone': [1]}, 'unexpected keyword argument .milestone.'),
        ({'train_cfg.max_epoch': 3}, "train_cfg=.*unexpected keyword argument 'max_epoch'"),
        ({'train_cfg.max_epochs': 0}, 'max_epochs must be 1 or more'),
        ({'val_dataloader.dataset.size': 0}, 'size must be a whole number of pixels'),
        ({'val_dataloader.dataset.type': 'Digitz'}, 'Digitz is not in the mmengine::dataset registry'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_mistake_in_the_last_stage_is_named(mistake, sentence):
    config = Config.fromfile(CONFIG)
    config.merge_from_dict({f'stages.bn.{key}': value for key, value in mistake.items()})
    with pytest.raises(InputError, match=f'{CONFIG}, stage bn: .*{sentence}'):
        check_stages(config)


@pytest.mark.parametrize('stages', [[], {}, ['float'], {'float': None}])
def test_stages_that_are_no_overrides_are_refused(stages):
    config = Config.fromfile(CONFIG)
    config.stages = stages
    with pytest.raises(InputError, match=r'must (map stage names to|be a dict of) config overrides'):
        check_stages(config)


@pytest.mark.parametrize('name', ['bireal_r18_digits', 'bireal_r34_imagenet', 'bireal_r152_imagenet'])
def test_stage_config_is_the_config_with_its_overrides(name):
    config = Config.fromfile(f'configs/{name}.py')
    for stage, overrides in config.stages.items():
        merged = stage_config(config, stage)
        assert 'stages' not in merged
        assert merged.train_cfg.max_epochs == overrides.train_cfg.max_epochs
        assert merged.model.backbone == {**config.model.backbone, **overrides.model.backbone}
        assert merged.val_evaluator == config.val_evaluator


@pytest.mark.parametrize('name', ['bireal_r34', 'bireal_r50', 'bireal_r152', 'baselines/binarynet_r152'])
def test_large_batches_warm_up_from_the_learning_rate_of_256(name):
    """The gradual warm-up of Goyal et al., 2017: from 0.1 to 0.1 batch / 256, or what the recipe has, in 5 epochs."""
    config = Config.fromfile(f'configs/{name}_imagenet.py')
    stage = stage_config(config, next(iter(config.stages)))
    wrapper = build_optim_wrapper(
        nn.Linear(1, 1), {**stage.optim_wrapper, 'constructor': 'DefaultOptimWrapperConstructor'}
    )
    default = dict(optimizer=wrapper, epoch_length=10)
    built = [PARAM_SCHEDULERS.build(each, default_args=dict(default)) for each in stage.param_scheduler]
    rates = []
    for _ in range(10 * 40):
        rates.append(wrapper.get_lr()['lr'][0])
        wrapper.optimizer.step()
        for each in built:
            if not each.by_epoch or len(rates) % 10 == 0:
                each.step()
    full, first = stage.optim_wrapper.optimizer.lr, stage.param_scheduler[1].milestones[0]
    assert full == pytest.approx(0.1 * config.auto_scale_lr.base_batch_size / 256, rel=0.03)
    assert rates[:51] == pytest.approx(np.interp(np.arange(51), [0, 49], [0.1, full]), rel=1e-3)
    assert rates[51 : 10 * first] == pytest.approx([full] * len(rates[51 : 10 * first]))
