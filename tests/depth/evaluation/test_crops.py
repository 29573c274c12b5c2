"""The part of an image that is scored."""

import cv2
import numpy as np
import pytest

from bireal_plugin.depth.evaluation.metrics import crop_mask
from bireal_plugin.errors import InputError


def bounds(mask):
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def test_gargs_crop_is_the_papers_mask(shared_data):
    mask = cv2.imread(str(shared_data / 'kitti/eigen_mask.png'), cv2.IMREAD_GRAYSCALE) > 0
    np.testing.assert_array_equal(crop_mask('garg', mask.shape), mask)


@pytest.mark.parametrize(
    ('name', 'size', 'expected'),
    [
        # The decimals of evaluation code, times the size, cut to integers.
        ('garg', (375, 1242), (153, 371, 44, 1197)),
        ('garg', (374, 1238), (152, 370, 44, 1193)),
        ('garg', (376, 1241), (153, 372, 44, 1196)),
        ('eigen', (375, 1242), (124, 342, 44, 1197)),
        ('eigen', (370, 1224), (122, 337, 43, 1180)),
        ('none', (3, 5), (0, 3, 0, 5)),
    ],
)
def test_a_crop_is_a_full_rectangle(name, size, expected):
    mask = crop_mask(name, size)
    assert bounds(mask) == expected
    assert mask.sum() == (expected[1] - expected[0]) * (expected[3] - expected[2])


def test_unknown_crop():
    with pytest.raises(InputError, match=r'unknown crop .garf.; there are: garg, eigen, none'):
        crop_mask('garf', (4, 4))
