"""Split lists in three forms, and Garg's drives."""

import pytest

from bireal_plugin.depth.kitti.raw import Frame, RawFolder
from bireal_plugin.depth.kitti.splits import GARG_DRIVES, find_split, list_frames
from bireal_plugin.errors import InputError
from tests.depth.recordings import write_frame

FIRST, SECOND = Frame('2011_09_26', '0001', 7), Frame('2011_09_28', '0002', 12)
IN_DRIVE = '2011_09_26/2011_09_26_drive_0001_sync'
IMAGES = f'{IN_DRIVE}/image_02/data/0000000007.jpg {IN_DRIVE}/image_03/data/0000000007.jpg'
TRUTH = '2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000007.png'


@pytest.fixture
def raw(tmp_path):
    root = tmp_path / 'raw'
    for frame in (FIRST, SECOND):
        write_frame(root, frame)
    return RawFolder(root)


@pytest.fixture
def list_of(tmp_path):
    def write(*lines):
        path = tmp_path / 'list.txt'
        path.write_text('\n'.join(lines))
        return path

    return write


@pytest.mark.parametrize(
    'line',
    [
        IMAGES,
        IMAGES.replace('.jpg', '.png'),
        f'/data/kitti/{IMAGES.replace(" ", " /data/kitti/")}',
        f'{IN_DRIVE} 0000000007 l',
        f'{IN_DRIVE} 7 l',
        f'{IN_DRIVE} 7 r',
        f'{IN_DRIVE}/image_02/data/0000000007.png {TRUTH} 721.5377',
        f'{IN_DRIVE}/image_02/data/0000000007.png None 721.5377',
        f'{IN_DRIVE}/image_02/data/0000000007.jpg',
        f'{IN_DRIVE} 7 l\r',
        f'{IN_DRIVE} 7',
        f'{IN_DRIVE} 7 L',
        f'{IN_DRIVE}/image_02/data/0000000007',
        f'{IN_DRIVE}/image_02/data/0000000007.PNG',
        f'{IN_DRIVE}/image_02/data/0000000007.png /data/kitti/val/{TRUTH}',
        f'{IN_DRIVE}/image_02/data/0000000007.png None',
        IMAGES.replace('/', '\\'),
        'D:\\my data\\' + f'{IN_DRIVE}/image_02/data/0000000007.png'.replace('/', '\\'),
        f'{IN_DRIVE} 7 l'.replace('/', '\\'),
        f'/home/me/{IN_DRIVE} 7 l',
        IMAGES.replace(' ', ','),
        '"' + IMAGES.replace(' ', '";"') + '"',
        f'{IN_DRIVE},7,l',
        f'{IN_DRIVE} 7 l  # the first one',
    ],
)
def test_each_form_of_line_names_its_frame(raw, list_of, line):
    assert find_split(list_of(line, ''), raw).frames == (FIRST,)


@pytest.mark.parametrize(
    'line',
    [
        'nonsense',
        f'{IN_DRIVE} seven l',
        f'{IN_DRIVE} 7 m',
        f'{IN_DRIVE} 7 l r',
        f'{IN_DRIVE}/image_02/data/0000000007.png {TRUTH.replace("07.png", "08.png")}',
        f'{IN_DRIVE}/image_02/data/0000000007.png other.png',
        f'{IMAGES} {IMAGES}',
        IMAGES.replace('image_03', 'image_02'),
        ' '.join(reversed(IMAGES.split())),
        IMAGES.replace('07.jpg', '08.jpg', 1),
        IMAGES.replace('07.jpg', '08.jpg', 1).replace(' ', ','),
        f'{IN_DRIVE}/image_02/data/0000000007.png None focal',
        f'{IN_DRIVE}/image_00/data/0000000007.png {IN_DRIVE}/image_01/data/0000000007.png',
    ],
)
def test_another_line_is_named_by_its_number(list_of, line):
    with pytest.raises(InputError, match=r'list\.txt line 2'):
        list_frames(list_of(IMAGES, line))


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be'])
def test_a_list_is_text_as_any_system_writes_it(raw, tmp_path, encoding):
    text = f'# a comment\r\n{IN_DRIVE} 7 l\r\n'
    marked = '\ufeff' + text if encoding.endswith('e') else text
    (tmp_path / 'list.txt').write_bytes(marked.encode(encoding))
    assert find_split(tmp_path / 'list.txt', raw).frames == (FIRST,)


@pytest.mark.parametrize('encoding', ['utf-16-be', 'latin-1'])
def test_a_list_in_another_encoding_is_called_so(list_of, encoding):
    path = list_of()
    path.write_bytes(f'# f\xfcr mich\n{IN_DRIVE} 7 l\n'.encode(encoding))
    with pytest.raises(InputError, match=r'list\.txt is no text in UTF-8 or UTF-16, so it is no split list'):
        list_frames(path)


def test_the_order_of_the_list_is_kept_and_both_views_are_one_frame(raw, list_of):
    path = list_of(*(f'{frame.date}/{frame.folder} {frame.index} {view}' for frame in (SECOND, FIRST) for view in 'lr'))
    split = find_split(path, raw)
    assert split.frames == (SECOND, FIRST)


def test_frames_without_a_partner_are_skipped_and_counted(raw, list_of):
    alone, absent = Frame('2011_09_26', '0001', 8), Frame('2011_09_26', '0005', 0)
    write_frame(raw.root, alone, sides=('image_02',))
    path = list_of(*(f'{frame.date}/{frame.folder} {frame.index} l' for frame in (alone, FIRST, absent)))
    split = find_split(path, raw)
    assert split.frames == (FIRST,)
    assert split.incomplete == (alone, absent)
    assert '2 skipped' in str(split)
    assert find_split(path, raw, need='left').frames == (alone, FIRST)


def test_a_list_of_absent_frames_says_what_was_looked_for_and_where(raw, list_of):
    with pytest.raises(InputError, match=r'2011_09_26_drive_0005_sync/image_02/data/0000000003') as error:
        find_split(list_of('2011_09_26/2011_09_26_drive_0005_sync 3 l'), raw)
    assert str(raw.root) in str(error.value)


@pytest.mark.parametrize('content', [b'', b'\n \n', b'\xff\xfe\x00'])
def test_an_empty_or_foreign_list_is_told(tmp_path, content):
    path = tmp_path / 'list.txt'
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'list\.txt'):
        list_frames(path)


def test_a_missing_list_is_told(raw):
    with pytest.raises(InputError, match='validation'):
        find_split('validation', raw)


def test_garg_has_33_training_and_28_test_drives_that_share_none():
    train, test = (set(GARG_DRIVES[part]) for part in ('train', 'test'))
    assert (len(train), len(test), len(train & test)) == (33, 28, 0)
    assert (len(GARG_DRIVES['train']), len(GARG_DRIVES['test'])) == (33, 28)


def test_garg_split_takes_its_drives_only(raw):
    write_frame(raw.root, Frame('2011_09_26', '0003', 0))  # in neither part
    assert find_split('train', raw).frames == (FIRST,)
    assert find_split('test', raw).frames == (SECOND,)
    assert len(find_split('all', raw).frames) == 3


@pytest.mark.parametrize('name', ['train', 'test', 'all'])
def test_an_empty_root_says_what_was_looked_for(tmp_path, name):
    with pytest.raises(InputError, match=r'looked for .*image_02/data') as error:
        find_split(name, RawFolder(tmp_path))
    assert str(tmp_path) in str(error.value)


def test_the_real_sample_is_a_test_and_a_training_drive(shared_data):
    raw = RawFolder(shared_data / 'kitti' / 'raw')
    assert [(frame.drive, frame.index) for frame in find_split('test', raw).frames] == [
        ('0048', index) for index in range(3)
    ]
    assert [(frame.drive, frame.index) for frame in find_split('train', raw).frames] == [
        ('0034', index) for index in range(6)
    ]
