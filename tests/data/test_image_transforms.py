"""The transforms against the same steps in numpy and plain Pillow."""

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image

from bireal_plugin.data import ImageToTensor8, PadCropFlip, ShorterSideCenterCrop, ShorterSideCropFlip
from bireal_plugin.errors import InputError


def picture(height, width, channels=3):
    pixels = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, channels), dtype=np.uint8)
    return pixels.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]


def resized(pixels, shorter_side):
    """Resize with Pillow so that the shorter side has the given length, the longer one rounded down."""
    height, width = pixels.shape[:2]
    if height <= width:
        size = (int(shorter_side * width / height), shorter_side)
    else:
        size = (shorter_side, int(shorter_side * height / width))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


@pytest.mark.parametrize(('height', 'width'), [(300, 400), (400, 300), (100, 90), (256, 256)])
@pytest.mark.parametrize('shorter_side', [256, (256, 300)])
@pytest.mark.parametrize('seed', range(4))
def test_shorter_side_crop_flip_is_resize_crop_mirror(height, width, shorter_side, seed):
    image = picture(height, width)
    rng = np.random.default_rng(seed)
    low, high = (256, 256) if shorter_side == 256 else shorter_side
    expected = resized(image, int(rng.integers(low, high + 1)))
    top = int(rng.integers(0, expected.shape[0] - 224 + 1))
    left = int(rng.integers(0, expected.shape[1] - 224 + 1))
    expected = expected[top : top + 224, left : left + 224]
    if rng.random() < 0.5:
        expected = expected[:, ::-1]
    output = ShorterSideCropFlip(shorter_side=shorter_side)(Image.fromarray(image), np.random.default_rng(seed))
    assert np.array_equal(output.numpy().transpose(1, 2, 0), expected)


def test_both_ends_of_the_interval_are_drawn():
    image = Image.fromarray(picture(8, 8))
    transform = ShorterSideCropFlip(shorter_side=(6, 8), crop=6, flip=False)
    possible = {}
    for side in (6, 7, 8):
        pixels = resized(np.asarray(image), side)
        for top in range(side - 5):
            for left in range(side - 5):
                possible[pixels[top : top + 6, left : left + 6].tobytes()] = side
    rng = np.random.default_rng(0)
    outputs = [transform(image, rng).numpy().transpose(1, 2, 0).tobytes() for _ in range(60)]
    assert {possible[output] for output in outputs} == {6, 7, 8}


@pytest.mark.parametrize(('height', 'width'), [(300, 401), (401, 300), (100, 90)])
def test_center_crop_cuts_the_middle(height, width):
    image = picture(height, width)
    whole = resized(image, 256)
    top, left = round((whole.shape[0] - 224) / 2), round((whole.shape[1] - 224) / 2)
    output = ShorterSideCenterCrop()(image, np.random.default_rng(0)).numpy()
    assert np.array_equal(output.transpose(1, 2, 0), whole[top : top + 224, left : left + 224])


@pytest.mark.parametrize('transform', [ShorterSideCropFlip(), ShorterSideCenterCrop()])
def test_grey_array_stays_one_channel(transform):
    assert transform(picture(60, 50, channels=1), np.random.default_rng(0)).shape == (1, 224, 224)


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize(('pad', 'height', 'width', 'channels'), [(4, 28, 28, 1), (2, 5, 8, 3), (0, 6, 6, 3)])
def test_pad_crop_flip_is_np_pad_crop_mirror(flip, pad, height, width, channels):
    image = picture(height, width, channels)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        top, left = rng.integers(0, 2 * pad + 1, size=2)
        expected = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))[top : top + height, left : left + width]
        if flip and rng.random() < 0.5:
            expected = expected[:, ::-1]
        output = PadCropFlip(pad=pad, flip=flip)(image, np.random.default_rng(seed))
        assert np.array_equal(output.numpy(), expected.transpose(2, 0, 1))


def test_flip_mirrors_about_half_of_the_images():
    image = picture(8, 8)
    rng = np.random.default_rng(0)
    transform = PadCropFlip(pad=0)
    mirrored = sum(not np.array_equal(transform(image, rng).numpy().transpose(1, 2, 0), image) for _ in range(400))
    assert 160 < mirrored < 240  # four standard deviations of a fair coin


@pytest.mark.parametrize('channels', [1, 3])
def test_image_to_tensor_keeps_every_value(channels):
    image = picture(5, 7, channels)
    assert np.array_equal(ImageToTensor8()(image, np.random.default_rng(0)).numpy(), np.moveaxis(image, 2, 0))


def test_grey_picture_becomes_one_channel():
    image = picture(5, 7, 1)[..., 0]
    assert np.array_equal(ImageToTensor8()(Image.fromarray(image), np.random.default_rng(0)).numpy(), image[None])


@pytest.mark.parametrize('name', ['ImageToTensor8', 'PadCropFlip', 'ShorterSideCenterCrop', 'ShorterSideCropFlip'])
def test_transforms_are_registered_by_name(name):
    assert TRANSFORMS.get(name).__name__ == name


@pytest.mark.parametrize(
    ('transform', 'arguments', 'words'),
    [
        (ShorterSideCropFlip, {'shorter_side': 200}, ['224', '200', 'lower crop']),
        (ShorterSideCropFlip, {'shorter_side': (200, 480)}, ['224', '200', 'lower crop']),
        (ShorterSideCenterCrop, {'shorter_side': 128}, ['224', '128', 'lower crop']),
        (ShorterSideCropFlip, {'shorter_side': (480, 256)}, ['low to high', '(480, 256)']),
        (ShorterSideCropFlip, {'shorter_side': (256, 300, 480)}, ['(256, 300, 480)']),
        (ShorterSideCropFlip, {'shorter_side': 256.5}, ['shorter_side', '256.5']),
        (ShorterSideCropFlip, {'crop': 0}, ['crop', 'not 0']),
        (PadCropFlip, {'pad': -1}, ['pad', '-1']),
        (PadCropFlip, {'pad': 1.5}, ['pad', '1.5']),
    ],
)
def test_impossible_lengths_are_refused_at_construction(transform, arguments, words):
    with pytest.raises(InputError) as caught:
        transform(**arguments)
    assert all(word in str(caught.value) for word in words)
