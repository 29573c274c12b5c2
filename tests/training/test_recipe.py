"""A mistake anywhere in a recipe is found before its first stage trains."""

import pytest
from mmengine.config import Config

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
