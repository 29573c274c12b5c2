"""Data that do not fit the network are named before the first iteration."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Subset

from bireal_plugin import InputError
from bireal_plugin.models.classifier import ImagePreprocessor
from bireal_plugin.training.data_check import check_data, other_classes

DIGITS = 'Digits has images of 1 channel (grey)'
CASES = {
    'fewer classes': (
        ['model.num_classes=9'],
        'Digits has 10 classes (labels 0 to 9), but the network has 9: set num_classes of the model',
    ),
    'colour network': (['model.backbone.in_channels=3'], f'{DIGITS}, but the first convolution takes 3'),
    'colour mean': (
        ['model.data_preprocessor.mean=[124.0,117.0,104.0]', 'model.data_preprocessor.std=[58.0,57.0,57.0]'],
        f'{DIGITS}, but data_preprocessor has mean and std of 3: give 1 of each',
    ),
    'colour all': (
        [
            'model.backbone.in_channels=3',
            'model.data_preprocessor.mean=[124.0,117.0,104.0]',
            'model.data_preprocessor.std=[58.0,57.0,57.0]',
        ],
        f'{DIGITS}, but data_preprocessor has mean and std of 3: give 1 of each',
    ),
    'units': (
        ['model.data_preprocessor.mean=[0.3]', 'model.data_preprocessor.std=[0.4]'],
        'to 255 here: multiply mean and std by 255',
    ),
}


@pytest.mark.parametrize(('options', 'words'), CASES.values(), ids=CASES)
def test_data_that_do_not_fit_the_network_are_named_before_the_first_iteration(
    run_tool, tiny_config, tmp_path, options, words
):
    ended = run_tool('train.py', tiny_config, '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    assert (ended.status, ended.err.count('\n')) == (1, 1), ended.err
    assert words in ended.err
    assert 'Epoch(train)' not in ended.out
    assert list(tmp_path.rglob('*.pth')) == []


class Items:
    """A data set of one image and, where they are told, classes."""

    def __init__(self, image, classes=None):
        self.image = image
        self.metainfo = {} if classes is None else dict(classes=classes)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        random.random(), np.random.rand(), torch.rand(1)
        return dict(inputs=self.image)


def network(channels, *, mean=(0.0,), std=(255.0,)):
    model = nn.Module()
    model.backbone = nn.Conv2d(channels, 2, 3)
    model.data_preprocessor = ImagePreprocessor(mean, std)
    return model


def byte(channels):
    return torch.zeros(channels, 4, 4, dtype=torch.uint8)


@pytest.mark.parametrize(
    ('model', 'data'),
    [
        (network(3), Items(byte(3))),
        (network(3, mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0)), Items(byte(3))),
        (network(1, mean=(0.5,), std=(0.5,)), Items(torch.zeros(1, 4, 4))),
        (network(4, mean=(0.0,), std=(1.0,)), Items(byte(4))),
        (nn.Linear(2, 2), Items(byte(3), classes=['a', 'b'])),
        (network(3), SimpleNamespace()),
        (network(3), Items('no tensor')),
    ],
    ids=['one mean for all', 'three', 'floats', 'four channels', 'no convolution', 'an iterable', 'no image'],
)
def test_what_fits_or_cannot_be_judged_is_taken(model, data):
    check_data(model, data)


def test_images_of_0_to_1_behind_statistics_of_bytes_are_refused():
    model = nn.Module()
    model.data_preprocessor = ImagePreprocessor([124.0], [58.0])
    check_data(model, Items(torch.full((1, 4, 4), 200.0)))
    check_data(model, Items(torch.zeros(1, 4, 4)))  # black in both
    with pytest.raises(InputError, match=r'images are of 0 to 1 here: divide mean and std by 255'):
        check_data(model, Items(torch.full((1, 4, 4), 0.8)))


class Labelled(Items):
    """A data set that lists its labels in the form that it is given."""

    def __init__(self, targets):
        super().__init__(torch.zeros(3, 4, 4))
        self.targets = targets

    def __len__(self):
        return len(self.targets)


WRAPPED = {
    'array': lambda labels: Labelled(np.array(labels)),
    'list': Labelled,
    'tensor': lambda labels: Labelled(torch.tensor(labels)),
    'subset': lambda labels: Subset(Labelled([9, *labels]), range(1, len(labels) + 1)),
    'joined': lambda labels: ConcatDataset([Labelled([0]), Labelled(labels)]),
    'repeated': lambda labels: SimpleNamespace(dataset=Labelled(labels)),
}


@pytest.mark.parametrize('wrap', WRAPPED.values(), ids=WRAPPED)
def test_labels_are_those_of_what_was_wrapped(wrap):
    model = SimpleNamespace(fc=nn.Linear(2, 5), modules=lambda: [])
    check_data(model, wrap([0, 4]))
    with pytest.raises(InputError, match=r'has 6 classes \(labels 0 to 5\), but the network has 5'):
        check_data(model, wrap([0, 5]))
    with pytest.raises(InputError, match='has the label -1; labels count from 0'):
        check_data(model, wrap([0, -1]))


@pytest.mark.parametrize('channels', [1, 2, 4])
def test_other_channels_than_the_first_convolution_takes_are_refused(channels):
    with pytest.raises(
        InputError, match=f'but the first convolution takes 3: set model.backbone.in_channels={channels}'
    ):
        check_data(network(3), Items(byte(channels)))


def test_a_detector_is_judged_by_its_head_and_not_by_its_proposals():
    model = network(3)
    model.rpn_head, model.bbox_head = nn.Identity(), nn.Identity()
    model.rpn_head.num_classes, model.bbox_head.num_classes = 1, 3
    check_data(model, Items(byte(3), classes=['a', 'b', 'c']))
    with pytest.raises(InputError, match=r'Items has 4 classes \(labels 0 to 3\), but the network has 3'):
        check_data(model, Items(byte(3), classes=['a', 'b', 'c', 'd']))


def test_looking_at_the_data_draws_no_random_number():
    drawn, model = [], network(3)
    for looks in (False, True):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        if looks:
            check_data(model, Items(byte(3)))
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]


def told(**entries):
    return dict(dataset_meta=entries)


@pytest.mark.parametrize(
    ('meta', 'metainfo', 'words'),
    [
        (told(classes=['cat', 'dog']), dict(classes=('cat', 'dog')), None),
        (
            told(classes=['cat', 'dog']),
            dict(classes=('dog', 'cat')),
            'with cat as class 0, which is dog in SimpleNamespace',
        ),
        (told(classes=['cat', 'dog']), dict(classes=('cat', 'owl')), 'dog as class 1, which is owl in SimpleNamespace'),
        (told(classes=['n1', 'n2'], class_names=['cat', 'dog']), dict(classes=('n1', 'n2')), None),
        (told(classes=['cat', 'dog']), dict(classes=('n1', 'n2'), class_names=('cat', 'dog')), None),
        (told(classes=[]), dict(classes=('cat', 'dog')), None),
        (told(classes=['cat', 'dog', 'owl']), dict(classes=('cat', 'dog')), None),
        (None, dict(classes=('cat', 'dog')), None),
        (told(classes=['cat', 'dog']), None, None),
    ],
)
@pytest.mark.parametrize('wrapped', [False, True])
def test_classes_of_a_checkpoint_that_are_not_the_datas_are_told(meta, metainfo, words, wrapped):
    dataset = SimpleNamespace(metainfo=metainfo)
    dataset = Subset(dataset, [0]) if wrapped else dataset
    found = other_classes(meta, dataset)
    assert (found is None) == (words is None)
    assert words is None or words.replace('SimpleNamespace', type(dataset).__name__) in found


def test_a_test_on_other_classes_is_a_warning(run_tool, finished_run, tmp_path):
    path = finished_run.folder / next(row['checkpoint'] for row in finished_run.results if row['name'] == 'bn')
    content = torch.load(path, weights_only=True)
    for classes, warned in ((content['meta']['dataset_meta']['classes'], False), ([*'9876543210'], True)):
        content['meta']['dataset_meta'] = dict(classes=classes)
        torch.save(content, tmp_path / 'net.pth')
        ended = run_tool('test.py', tmp_path / 'net.pth', '--work-dir', tmp_path / 'test')
        assert ended.status == 0, ended.err
        assert ('with 9 as class 0, which is 0 in Digits' in ended.out) == warned
