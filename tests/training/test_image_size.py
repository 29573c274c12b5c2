"""The size of the images that a config tests with."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from bireal_plugin.errors import InputError
from bireal_plugin.training.config import load_config
from bireal_plugin.training.image_size import tested_size as size_of  # pytest would take tested_size for a test


@DATASETS.register_module()
class WideImages:
    def __init__(self, key='inputs', growth=0):
        self.key, self.growth = key, growth

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return {self.key: torch.zeros(3, 28, 40 + self.growth * index, dtype=torch.uint8)}


def config_of(**dataset):
    return Config(dict(test_dataloader=dict(dataset=dataset)), cfg_text='x', filename='x.py')


@pytest.mark.parametrize(
    ('dataset', 'size'),
    [
        (dict(type='Digits', size=48), (48, 48)),
        (dict(type='StreetPairs', size=(96, 320)), (96, 320)),
        (dict(type='ImageNetFolder', transform=dict(type='ShorterSideCenterCrop', crop=160)), (160, 160)),
        (dict(type='CocoDataset', pipeline=[dict(type='Load'), dict(type='Resize', scale=(1333, 800))]), (800, 1344)),
        (dict(type='WideImages'), (28, 40)),
        (dict(type='Digits', split='test'), (32, 32)),
    ],
)
def test_the_data_set_says_it_or_shows_it(dataset, size):
    assert size_of(config_of(**dataset)) == size


@pytest.mark.parametrize(
    ('dataset', 'sentence'),
    [
        (dict(type='FashionMNISTFiles', root='nowhere'), 'nowhere.*give it as --size H W'),
        (dict(type='WideImages', key='img'), 'x.py: .*give.*--size H W'),
        (dict(type='WideImages', growth=1), 'its images are of several sizes; give it as --size H W'),
        (
            dict(type='ImageNetFolder', root='nowhere', transform=dict(type='ImageToTensor8')),
            'nowhere.*give it as --size H W',
        ),
        ({}, 'x.py has no data .* give --size H W'),
    ],
)
def test_a_size_that_nothing_says_is_asked_for(dataset, sentence):
    with pytest.raises(InputError, match=sentence):
        size_of(config_of(**dataset))


@pytest.mark.parametrize('divisor', [None, 16, 32])
def test_what_the_preprocessor_pads_is_counted(divisor):
    config = config_of(type='WideImages')
    config.data_preprocessor = dict(type='x', pad_size_divisor=divisor)
    step = divisor or 1
    assert size_of(config) == (-(-28 // step) * step, -(-40 // step) * step)


@pytest.mark.parametrize('splits', [('val',), ('train',), ('train', 'val')])
def test_without_test_data_those_of_validation_count_or_of_training(splits):
    sizes = dict(val=24, train=40)
    loaders = {f'{split}_dataloader': dict(dataset=dict(type='Digits', size=sizes[split])) for split in splits}
    assert size_of(Config(loaders)) == (sizes[splits[-1]],) * 2


@pytest.mark.parametrize(
    ('name', 'size'),
    [('bireal_r18_digits', (32, 32)), ('bireal_r18_imagenet', (224, 224)), ('depth/bireal_r18_street', (96, 320))],
)
def test_configs_that_are_shipped(name, size):
    assert size_of(load_config(name)) == size
