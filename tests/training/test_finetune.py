"""``bireal_r18_finetune``: a folder of images per class, from the training state in the zoo."""

import numpy as np
import pytest
import torch
from PIL import Image

from bireal_plugin.checkpoints.loading import fetch_checkpoint

START = 'zoo://bireal_r18_imagenette/training'
CLASSES = ('blue', 'green', 'red')


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Four images of three classes to train on, two to validate on: noise of one colour."""
    folder = tmp_path_factory.mktemp('photographs')
    random = np.random.default_rng(0)
    for split, count in (('train', 4), ('val', 2)):
        for channel, name in zip((2, 1, 0), CLASSES, strict=True):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.zeros((120, 130, 3), np.uint8)
                pixels[..., channel] = random.integers(0, 256, (120, 130))
                Image.fromarray(pixels).save(folder / split / name / f'{i}.jpg')
    return folder


@pytest.fixture
def finetune(start_tool, photographs, tmp_path):
    def start(*options):
        usual = [f'data_root={photographs}', 'train_dataloader.batch_size=6', 'stages.binary.train_cfg.max_epochs=1']
        usual += [f'{each}_dataloader.num_workers=0' for each in ('train', 'val', 'test')]
        return start_tool('train.py', 'bireal_r18_finetune', '--work-dir', tmp_path, '--cfg-options', *usual, *options)

    return start


@pytest.mark.slow
def test_the_backbone_is_that_of_the_zoo_and_the_classifier_has_the_classes_of_the_folder(
    finetune, run_command, photographs, tmp_path
):
    ended = finetune('stages.binary.optim_wrapper.optimizer.lr=0')
    assert ended.status == 0, ended.err
    assert '3 classes, as the training data have: blue, green, red; the classifier starts anew' in ended.out + ended.err
    state = torch.load(tmp_path / 'binary' / 'epoch_1.pth', weights_only=True)['state_dict']
    start = fetch_checkpoint(START)['state_dict']
    kept = [name for name in start if name.startswith('backbone.') and name.endswith('weight')]
    assert len(kept) > 30
    assert all(torch.equal(state[name], start[name].float()) for name in kept)
    assert state['fc.weight'].shape[0] == 3
    assert start['fc.weight'].shape[0] == 10
    photo = photographs / 'val' / 'red' / '0.jpg'
    predicted = run_command('predict', tmp_path / 'bn' / 'epoch_1.pth', photo)
    assert predicted.status == 0, predicted.err
    assert sorted(line.split()[1] for line in predicted.out.splitlines()[1:]) == [*CLASSES]


@pytest.mark.slow
def test_another_width_than_the_states_is_refused(finetune):
    ended = finetune('model.backbone.base_channels=16')
    assert ended.status == 1
    assert 'these weights belong to another network' in ended.err


def test_a_number_of_classes_that_is_given_stays(run_command, photographs, tmp_path):
    ended = run_command(
        'train', 'bireal_r18_finetune', '--work-dir', tmp_path, '--stage', 'binary', '--cfg-options',
        f'data_root={photographs}', 'model.num_classes=2', 'train_dataloader.num_workers=0',
    )  # fmt: skip
    assert 'ImageNetFolder has 3 classes (labels 0 to 2), but the network has 2' in ended.err
