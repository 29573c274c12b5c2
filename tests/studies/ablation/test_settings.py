"""One work directory, one grid."""

import pytest
from mmengine.config import Config

from bireal_plugin.errors import InputError
from bireal_plugin.studies.ablation.settings import keep_settings


def test_the_same_settings_may_go_on_elsewhere(tmp_path):
    config = Config(dict(optim_wrapper=dict(lr=0.1), data_root='a', train_dataloader=dict(num_workers=2)))
    keep_settings(config, tmp_path)
    config.merge_from_dict({'data_root': 'b', 'train_dataloader.num_workers': 4})
    keep_settings(config, tmp_path)


def test_other_settings_are_refused(tmp_path):
    config = Config(dict(optim_wrapper=dict(lr=0.1), milestones=(1, 2)))
    keep_settings(config, tmp_path)
    config.merge_from_dict({'optim_wrapper.lr': 0.2})
    with pytest.raises(InputError, match=r'was begun with another optim_wrapper\.lr;'):
        keep_settings(config, tmp_path)
