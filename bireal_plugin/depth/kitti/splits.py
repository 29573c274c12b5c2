"""Frames of a split: a list in one of the three published forms, or all frames of the split's drives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bireal_plugin.depth.kitti.calibration import text_lines
from bireal_plugin.depth.kitti.raw import Frame, RawFolder
from bireal_plugin.errors import InputError

_TEST = {
    '2011_09_26': (
        '0002 0009 0013 0020 0023 0027 0029 0036 0046 0048 0052 0056 0059 0064 0084 0086 0093 0096 0101 0106 0117'
    ),
    '2011_09_28': '0002',
    '2011_09_29': '0071',
    '2011_09_30': '0016 0018 0027',
    '2011_10_03': '0027 0047',
}
_TRAIN = {
    '2011_09_26': (
        '0001 0005 0011 0014 0015 0017 0018 0019 0022 0028 0032 0035 0039 0051 0057 0060 0061 0070 0079 0087 0091 '
        '0095 0104 0113'
    ),
    '2011_09_28': '0001',
    '2011_09_29': '0004 0026',
    '2011_09_30': '0020 0028 0033 0034',
    '2011_10_03': '0034 0042',
}

# (date, drive) of the 33 'train' and the 28 'test' drives.
GARG_DRIVES: dict[str, tuple[tuple[str, str], ...]] = {
    part: tuple((date, drive) for date, drives in table.items() for drive in drives.split())
    for part, table in (('train', _TRAIN), ('test', _TEST))
}

DRIVE = r'(\d{4}_\d{2}_\d{2})_drive_(\d{4})_sync'
IMAGE = re.compile(rf'{DRIVE}/image_(0[23])/data/(\d{{1,10}})(?:\.(?:png|jpe?g))?(?=\s|$)', re.IGNORECASE | re.ASCII)
TRUTH = re.compile(rf'\S*{DRIVE}/proj_depth/groundtruth/image_0[23]/(\d{{1,10}})\.png|none', re.IGNORECASE | re.ASCII)
MOMENT = re.compile(rf'(?:.*/)?{DRIVE}/?\s+(\d{{1,10}})(?:\s+[lr])?', re.IGNORECASE | re.ASCII)
NUMBER = re.compile(r'\d+(\.\d+)?')
FORMS = "'imgL imgR', 'date/drive index l|r', 'img ground-truth focal' or 'img ground-truth'"
Need = Literal['pair', 'left']


@dataclass(frozen=True)
class FrameSplit:
    """Frames of a split that are on disk, and those that are not."""

    name: str  # the list's path or the split's name
    frames: tuple[Frame, ...]  # complete ones, in the list's order, each once
    incomplete: tuple[Frame, ...] = ()  # listed ones that lack an image
    listed: tuple[Frame, ...] = ()  # all of them, as often as the list names them

    def __str__(self) -> str:
        skipped = f', {len(self.incomplete)} skipped for want of an image' if self.incomplete else ''
        return f'{self.name}: {len(self.frames)} frames{skipped}'


def find_split(split: str | Path, raw: RawFolder, *, need: Need = 'pair') -> FrameSplit:
    """Frames on disk of a split by its name, or of a list by its path.

    A list is in a form of monodepth (``imgL imgR``), monodepth2 (``date/drive index l|r``, left without a side), BTS
    (``img gt focal``) or Depth Anything (``img gt``), with blanks, commas or semicolons between; lines may be of
    different forms, and what is behind ``#`` is a comment. Suffixes may differ from those on disk, indices need no
    padding, and paths may have something in front of the date, and the slashes of Windows. A frame is taken once,
    whichever of its views are named.

    Args:
        split: 'all' for every frame, 'train' or 'test' for all frames of Garg's drives, or a list file. The published
            lists select frames of those drives: give the list for figures to be compared with published ones.
        raw: the recordings.
        need: 'pair' keeps frames with both images, 'left' those with the left one.

    Raises:
        InputError: no such name or file, an empty list, a line in another form, or no frame on disk.
    """
    if split in GARG_DRIVES:
        name, drives = f"Garg's {split} drives", list(GARG_DRIVES[str(split)])
        date, drive = drives[0]
        lacking = (
            f"image of the {len(drives)} {split} drives of Garg's split: looked for "
            f'{date}/{date}_drive_{drive}_sync/image_02/data and so on'
        )
    elif split == 'all':
        name, drives = 'all frames', raw.drives()
        lacking = 'recordings: looked for <date>/<date>_drive_<nnnn>_sync/image_02/data/*.png and *.jpg'
    elif Path(split).is_file():
        return _on_disk(str(split), list_frames(split), raw, need)
    else:
        raise InputError(f"there is no split list {split}: give the path of a list, or 'train', 'test' or 'all'")
    listed = [frame for drive in drives for frame in sorted({*raw.frames(drive), *raw.frames(drive, 'right')})]
    if not listed:
        raise InputError(f'{raw.root} has no {lacking}')
    return _on_disk(name, listed, raw, need)


def list_frames(path: str | Path) -> list[Frame]:
    """Frame of each line of a list; see ``find_split``.

    Raises:
        InputError: a missing or empty list, or a line in another form.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'there is no split list {path}')
    lines = text_lines(path, otherwise=f'so it is no split list: give one with lines {FORMS}')
    told = [
        (number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith('#')
    ]
    frames = [_frame(line, f'{path} line {number}') for number, line in told]
    if not frames:
        raise InputError(f'the split list {path} is empty: give one with lines {FORMS}')
    return frames


def _frame(line: str, where: str) -> Frame:
    text = re.sub(r'[",;]', ' ', line.partition(' #')[0]).strip().replace('\\', '/')
    images = list(IMAGE.finditer(text))
    if images:
        date, drive, side, index = images[0].groups()
        frame, rest = Frame(date, drive, int(index)), text[images[-1].end() :].split()
        if len(images) == 2 and not rest:
            second = images[1].groups()
            if frame != Frame(second[0], second[1], int(second[3])):
                raise InputError(
                    f'{where} pairs two different frames, {images[0][0]} and {images[1][0]}: correct the line'
                )
            if (side, second[2]) != ('02', '03'):
                raise InputError(f'{where} must name image_02 (left) and then image_03 (right): correct the line')
            return frame
        if len(images) == 1 and not rest:
            return frame
        if len(images) == 1 and len(rest) == 2 and NUMBER.fullmatch(rest[1]):
            return frame
        truth = TRUTH.fullmatch(rest[0]) if len(images) == len(rest) == 1 else None
        if truth is not None:
            if truth[1] is not None and frame != Frame(truth[1], truth[2], int(truth[3])):
                raise InputError(f'{where} has the ground truth of another frame, {truth[0]}: correct the line')
            return frame
    moment = MOMENT.fullmatch(text)
    if moment:
        return Frame(moment[1], moment[2], int(moment[3]))
    raise InputError(f'{where}, {line.strip()[:80]!r}, is none of {FORMS}: correct the line')


def _on_disk(name: str, listed: list[Frame], raw: RawFolder, need: Need) -> FrameSplit:
    """Keep the frames on disk, by one listing per folder instead of one query per file."""
    unique = list(dict.fromkeys(listed))
    drives = {(frame.date, frame.drive) for frame in unique}
    present = {frame for drive in drives for frame in raw.frames(drive, 'left')}
    if need == 'pair':
        present &= {frame for drive in drives for frame in raw.frames(drive, 'right')}
    kept = tuple(frame for frame in unique if frame in present)
    if not kept:
        frame = unique[0]
        what = 'image_02 and image_03' if need == 'pair' else 'image_02'
        raise InputError(
            f'none of the {len(unique)} frames of {name} is in {raw.root} with {what}: looked for '
            f'{frame.date}/{frame.folder}/image_02/data/{frame.file}.png or .jpg and so on'
        )
    incomplete = tuple(frame for frame in unique if frame not in present)
    return FrameSplit(name, kept, incomplete, tuple(listed))
