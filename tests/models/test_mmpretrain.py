"""mmpretrain's list of models, its inference and its training with the networks of this package."""

import json

import numpy as np
import pytest
import torch
import yaml
from mmengine.registry import DefaultScope
from PIL import Image

from bireal_plugin.errors import InputError
from bireal_plugin.shipping.classification import Classifier, Preparation
from bireal_plugin.training.trained import load_trained
from bireal_plugin.zoo import log_of
from tests.conftest import REPOSITORY

mmpretrain = pytest.importorskip('mmpretrain', reason='mmpretrain is not installed')

from bireal_plugin.mmpretrain import FOLDERS  # noqa: E402

NAME, WEIGHTS = 'bireal_resnet18_imagenette', 'zoo://bireal_r18_imagenette/training'
CONFIG = REPOSITORY / 'configs' / 'mmpretrain' / f'{NAME}.py'
# The shipped plan of 100 epochs, at a tenth, on three colours.
SMALL = """
_base_ = '{config}'
model = dict(backbone=dict(base_channels=8), head=dict(num_classes=3, in_channels=64, topk=(1,)))
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
colours = dict(data_root='{data}', classes=['blue', 'green', 'red'], pipeline=pipeline)
train_dataloader = dict(batch_size=12, num_workers=0, dataset=colours)
val_dataloader = dict(num_workers=0, dataset=colours)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
custom_hooks = _base_.custom_hooks
custom_hooks[0].update(step1=2, step2=4, bn=9)
train_cfg = dict(max_epochs=10, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = []
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=10))
log_processor = dict(window_size=1)
randomness = dict(seed=0)
"""


def metafile(folder):
    return yaml.safe_load((REPOSITORY / 'configs' / folder / 'metafile.yml').read_text())['Models']


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
    path = tmp_path / 'photo.png'
    Image.fromarray(pixels).resize((231, 165), Image.Resampling.BICUBIC).save(path)
    return path


def test_mmpretrain_lists_every_classifier():
    ours = {model['Name'] for folder in FOLDERS for model in metafile(folder)}
    assert ours <= set(mmpretrain.list_models())
    assert NAME in mmpretrain.list_models('*bireal*', task='Image Classification')


def test_a_recipes_network_is_built_by_its_name():
    model = mmpretrain.get_model('bireal_r18_fashion_mnist')
    assert type(model).__name__ == 'BiRealClassifier'
    with pytest.raises(InputError, match='folded 1-bit weights, which bireal_plugin'):
        mmpretrain.get_model('bireal_r18_fashion_mnist', pretrained=True)


def test_inference_gives_what_predict_gives(photo):
    model, config = load_trained(None, WEIGHTS)
    names = list(config.test_dataloader.dataset.names.values())
    expected = Classifier.of_model(model, Preparation.of_config(config, model, (112, 112), names), WEIGHTS, None)(photo)
    with DefaultScope.overwrite_default_scope('mmpretrain'):  # another test's runner may have left its own
        found = mmpretrain.inference_model(NAME, str(photo))
    assert found['pred_class'] == expected[0].name
    scores = [found['pred_scores'][guess.index] for guess in expected]
    np.testing.assert_allclose(scores, [guess.probability for guess in expected], atol=1e-4)


def test_the_metafile_has_the_accuracy_of_the_weights():
    (model,) = metafile('mmpretrain')
    log = log_of('bireal_r18_imagenette')['training']
    assert model['Weights'] == WEIGHTS
    measured = [model['Results'][0]['Metrics'][f'Top {k} Accuracy'] for k in (1, 5)]
    assert measured == pytest.approx([log['top1'], log['top5']], abs=0.006)


@pytest.mark.slow
def test_one_run_of_mmpretrain_becomes_binary_and_learns(run_tool, tmp_path):
    generator = np.random.default_rng(0)
    for split in ('train', 'val'):
        for channel, name in enumerate(('red', 'green', 'blue')):
            folder = tmp_path / 'data' / split / name
            folder.mkdir(parents=True)
            for i in range(16):
                pixels = generator.integers(0, 160, (64, 64, 3), np.uint8)
                pixels[..., channel] += 60
                Image.fromarray(pixels).save(folder / f'{i}.png')
    config = tmp_path / 'small.py'
    config.write_text(SMALL.format(config=CONFIG, data=tmp_path / 'data'))
    ended = run_tool('train.py', config, '--work-dir', tmp_path / 'run')
    assert ended.status == 0, ended.err
    scalars = next((tmp_path / 'run').rglob('scalars.json')).read_text().splitlines()
    assert json.loads(scalars[-1])['accuracy/top1'] > 90
    state = torch.load(tmp_path / 'run' / 'epoch_10.pth', weights_only=True)['state_dict']
    binary = [value for name, value in state.items() if 'backbone.layer' in name and name.endswith('conv1.weight')]
    assert len(binary) == 16
    assert all(torch.equal(weight.abs(), torch.ones_like(weight)) for weight in binary)
