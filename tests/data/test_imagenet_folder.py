"""ImageNet folders: the real sample, every mode of image, and every wrong layout."""

import shutil

import numpy as np
import pytest
from PIL import Image

from bireal_plugin.data import ImageNetFolder
from bireal_plugin.errors import InputError

CLASSES = ['n01', 'n02', 'n03']


@pytest.fixture
def root(tmp_path):
    """Three classes with two training and one validation image each; their grey value tells which they are."""
    for split, count in (('train', 2), ('val', 1)):
        for label, wnid in enumerate(CLASSES):
            folder = tmp_path / split / wnid
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new('RGB', (12, 10), (10 * label + number,) * 3).save(folder / f'{number}.png')
    return tmp_path


def sentence(call):
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(('split', 'folder', 'count'), [('train', 'train', 16), ('val', 'val', 6), ('test', 'val', 6)])
def test_real_sample_is_the_files_in_sorted_order(shared_data, split, folder, count):
    root = shared_data / 'imagenet_sample'
    dataset = ImageNetFolder(root, split)
    files = sorted((root / folder).glob('*/*.JPEG'))
    assert len(dataset) == len(files) == 10 * count
    wnids = sorted({file.parent.name for file in files})
    assert dataset.targets.tolist() == [wnids.index(file.parent.name) for file in files]
    assert np.array_equal(dataset.image(count), Image.open(files[count]).convert('RGB'))


def test_real_sample_has_human_names(shared_data):
    metainfo = ImageNetFolder(shared_data / 'imagenet_sample', 'val').metainfo
    assert metainfo['classes'][0] == 'n01440764'
    assert metainfo['class_names'][0] == 'tench, Tinca tinca'


def test_names_of_the_config_name_the_classes(root):
    names = dict(zip(reversed(CLASSES), ('c', 'b', 'a'), strict=True))
    assert ImageNetFolder(root, 'val', names=names).metainfo['class_names'] == ['a', 'b', 'c']
    del names[CLASSES[1]]
    assert CLASSES[1] in sentence(lambda: ImageNetFolder(root, 'val', names=names))


def test_paper_transform_on_a_real_image(shared_data):
    transform = {'type': 'ShorterSideCenterCrop'}
    dataset = ImageNetFolder(shared_data / 'imagenet_sample', 'val', transform=transform, subset=1)
    image = dataset.image(0)
    width, height = (256 * side // min(image.size) for side in image.size)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    whole = image.resize((width, height), Image.Resampling.BILINEAR)
    expected = np.asarray(whole.crop((left, top, left + 224, top + 224)))
    assert np.array_equal(dataset[0]['inputs'].permute(1, 2, 0), expected)


def test_metainfo_without_the_mapping_has_no_names(root):
    assert ImageNetFolder(root, 'val').metainfo == {'classes': CLASSES, 'dataset': 'ImageNet'}


def test_val_indices_follow_train_when_val_lacks_a_class(root):
    shutil.rmtree(root / 'val' / 'n01')
    dataset = ImageNetFolder(root, 'val')
    assert dataset.targets.tolist() == [1, 2]
    assert [np.asarray(dataset.image(index)).max() for index in range(2)] == [10, 20]


def test_val_alone_defines_the_classes(root):
    shutil.rmtree(root / 'train')
    assert ImageNetFolder(root, 'val').classes == CLASSES


def test_other_files_are_passed_over(root):
    (root / 'train' / 'n01' / 'notes.txt').write_text('x')
    (root / 'train' / 'n01' / '._0.png').write_bytes(b'x')
    (root / 'train' / '.cache').mkdir()
    assert len(ImageNetFolder(root, 'train')) == 6


def test_subset_is_even_over_classes(root):
    dataset = ImageNetFolder(root, 'train', subset=3)
    assert [np.asarray(dataset.image(index)).max() for index in range(3)] == [0, 10, 20]


GREY = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1))


@pytest.mark.parametrize('mode', ['L', 'LA', 'P', 'RGBA', '1'])
def test_modes_of_png_become_rgb(root, mode):
    expected = GREY if mode != '1' else np.where(GREY < 128, 0, 255)
    image = Image.fromarray(expected.astype(np.uint8))
    file = root / 'val' / 'n01' / '0.png'
    image.convert(mode, dither=Image.Dither.NONE).save(file)
    assert Image.open(file).mode == mode
    assert np.array_equal(ImageNetFolder(root, 'val').image(0), np.stack([expected] * 3, axis=-1))


@pytest.mark.parametrize('mode', ['L', 'CMYK'])
def test_modes_of_jpeg_become_rgb(root, mode):
    file = root / 'val' / 'n01' / '0.JPEG'
    (root / 'val' / 'n01' / '0.png').unlink()
    Image.fromarray(GREY).convert('RGB').convert(mode).save(file, quality=100)
    assert Image.open(file).mode == mode
    decoded = np.asarray(ImageNetFolder(root, 'val').image(0)).astype(int)
    assert decoded.shape == (20, 30, 3)
    assert np.abs(decoded - GREY[..., None]).max() <= 4


def test_exif_rotation_is_ignored(root):
    file = root / 'val' / 'n01' / '0.png'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (12, 10)).save(file, exif=exif)
    assert ImageNetFolder(root, 'val').image(0).size == (12, 10)


def test_truncated_jpeg_is_named(shared_data, root):
    source = sorted((shared_data / 'imagenet_sample' / 'val').glob('*/*.JPEG'))[0]
    file = root / 'val' / 'n02' / '0.JPEG'
    file.write_bytes(source.read_bytes()[:4000])
    dataset = ImageNetFolder(root, 'val')
    assert str(file) in sentence(lambda: dataset[1])


@pytest.mark.parametrize('content', [b'', b'<html>404</html>', b'\x89PNG\r\n\x1a\n' + bytes(60)])
def test_file_that_is_no_image_is_named(root, content):
    file = root / 'val' / 'n01' / '0.png'
    file.write_bytes(content)
    assert str(file) in sentence(lambda: ImageNetFolder(root, 'val')[0])


def test_file_that_vanished_is_named(root):
    dataset = ImageNetFolder(root, 'val')
    file = root / 'val' / 'n01' / '0.png'
    file.unlink()
    assert str(file) in sentence(lambda: dataset[0])


def test_missing_root_tells_the_layout_and_the_option(tmp_path):
    words = sentence(lambda: ImageNetFolder(tmp_path / 'nowhere', 'train'))
    expected = f'{tmp_path}/nowhere/{{train,val}}/<wnid>/*.JPEG'
    assert expected in words
    assert words.endswith('--cfg-options data_root=PATH')


def test_flat_val_has_a_sentence_of_its_own(root):
    shutil.rmtree(root / 'val')
    (root / 'val').mkdir()
    (root / 'val' / 'ILSVRC2012_val_00000001.JPEG').write_bytes(b'')
    words = sentence(lambda: ImageNetFolder(root, 'val'))
    assert 'without class folders' in words
    assert str(root / 'val') in words


def test_empty_split_is_named(root):
    shutil.rmtree(root / 'train')
    (root / 'train').mkdir()
    assert f'{root / "train"} has no class folder' in sentence(lambda: ImageNetFolder(root, 'val'))


def test_empty_class_is_named(root):
    (root / 'train' / 'n02' / '0.png').unlink()
    (root / 'train' / 'n02' / '1.png').unlink()
    assert f'{root / "train" / "n02"} holds no image' in sentence(lambda: ImageNetFolder(root, 'train'))


def test_class_that_train_lacks_is_named(root):
    (root / 'val' / 'n99').mkdir()
    words = sentence(lambda: ImageNetFolder(root, 'val'))
    assert 'first n99' in words
    assert str(root / 'train') in words


@pytest.mark.parametrize('lines', [b'n01 one\nn02 two\n', b'n01 one\nn02 two\nn03\n'])
def test_mapping_without_one_of_the_classes_is_named(root, lines):
    (root / 'LOC_synset_mapping.txt').write_bytes(lines)
    words = sentence(lambda: ImageNetFolder(root, 'val'))
    assert 'LOC_synset_mapping.txt has no name for the class n03' in words


def test_mapping_that_is_no_text_is_named(root):
    (root / 'LOC_synset_mapping.txt').write_bytes(b'\xff\xfe\xff')
    assert 'LOC_synset_mapping.txt is not UTF-8' in sentence(lambda: ImageNetFolder(root, 'val'))


def test_unknown_split_is_named(root):
    assert "'dev'" in sentence(lambda: ImageNetFolder(root, 'dev'))
