"""``timm.create_model('bireal_resnet18.imagenette', pretrained=True)``: training state, classes and images."""

import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import bireal_plugin
from bireal_plugin.training.config import load_config
from bireal_plugin.zoo import log_of
from tests.conftest import REPOSITORY

NAME, ENTRY = 'bireal_resnet18.imagenette', 'bireal_r18_imagenette'


@pytest.fixture(scope='module')
def model():
    return timm.create_model(NAME, pretrained=True).eval()


@torch.no_grad()
def test_logits_are_those_of_the_training_state(model):
    ours, config = bireal_plugin.load_trained(None, f'zoo://{ENTRY}/training')
    assert config.stage == 'binary'
    images = torch.randn(3, 3, 112, 112)
    torch.testing.assert_close(model(images), ours(images), rtol=1e-4, atol=1e-4)


def test_preprocessing_is_that_of_the_config(model):
    pixels = np.random.default_rng(0).integers(0, 256, (150, 201, 3), np.uint8)
    photo = Image.fromarray(pixels)
    data = timm.data.resolve_data_config({}, model=model)
    theirs = timm.data.create_transform(**data)(photo)
    config = load_config(ENTRY)
    dataset = config.test_dataloader.dataset
    ours = bireal_plugin.data.ShorterSideCenterCrop(
        shorter_side=dataset.transform.shorter_side, crop=dataset.transform.crop
    )(photo, np.random.default_rng(0))
    mean, std = (torch.tensor(config.model.data_preprocessor[key]).view(3, 1, 1) for key in ('mean', 'std'))
    torch.testing.assert_close(theirs, (ours - mean) / std, atol=1e-5, rtol=0)


def test_a_name_without_a_tag_stays_untrained_with_1000_classes():
    assert timm.create_model('bireal_resnet18').num_classes == 1000
    assert timm.get_pretrained_cfg('bireal_resnet18').tag == 'untrained'
    with pytest.raises(RuntimeError, match='No pretrained weights exist'):
        timm.create_model('bireal_resnet18', pretrained=True)
    assert NAME in timm.list_models('bireal*', pretrained=True)


@pytest.mark.parametrize('form', ['imagenette', timm.get_pretrained_cfg(NAME), timm.get_pretrained_cfg(NAME).to_dict()])
def test_a_configuration_of_any_form_builds_the_network_that_its_weights_are_of(model, form):
    """timm's validate.py resolves the name to a dict."""
    other = timm.create_model('bireal_resnet18', pretrained=True, pretrained_cfg=form)
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in model.state_dict().items())


def test_another_number_of_classes_keeps_the_trunk_alone(model):
    other = timm.create_model(NAME, pretrained=True, num_classes=3)
    assert torch.equal(other.layer4[3].conv1.weight, model.layer4[3].conv1.weight)
    assert other.fc.out_features == 3


@pytest.mark.slow
@torch.no_grad()
def test_photographs_are_classified_as_well_as_the_log_says(model, shared_data):
    """100 images, 10 of a class: within three standard errors."""
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    right = []
    for label, folder in enumerate(sorted((shared_data / 'imagenette' / 'val').iterdir())):
        files = sorted(folder.iterdir())[:10]
        images = torch.stack([transform(Image.open(file).convert('RGB')) for file in files])
        right += (model(images).argmax(1) == label).tolist()
    expected = log_of(ENTRY)['training']['top1'] / 100
    assert len(right) == 100
    assert abs(np.mean(right) - expected) < 3 * (expected * (1 - expected) / 100) ** 0.5
    assert model.pretrained_cfg['label_names'][0] == 'tench'


# What timm's validate.py and train.py do first; the script itself knows nothing of this package.
SCRIPT = """
import argparse
import timm
parser = argparse.ArgumentParser()
parser.add_argument('data')
parser.add_argument('--model')
parser.add_argument('--pretrained', action='store_true')
given = parser.parse_args()
if __name__ == '__main__':
    model = timm.create_model(given.model, pretrained=given.pretrained)
    print(given.data, model.num_classes, timm.data.resolve_data_config(vars(given), model=model)['input_size'])
"""


@pytest.mark.slow
def test_a_script_of_timms_finds_the_models_by_the_command_in_the_docs(tmp_path):
    (tmp_path / 'validate.py').write_text(SCRIPT)
    command = re.search(r'^python (-c .*--pretrained)$', (REPOSITORY / 'docs/backbone.md').read_text(), re.M | re.S)[1]
    environment = {**os.environ, 'PYTHONPATH': str(REPOSITORY)}
    words = [sys.executable, *shlex.split(command.replace('\\\n', ''))]
    ran = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == 'DATA 10 (3, 112, 112)\n'
