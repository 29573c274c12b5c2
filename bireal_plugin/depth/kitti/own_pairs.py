"""Rectified pairs of one's own: two folders, or a table of their files, with the focal length and the baseline."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bireal_plugin.data.image_file import image_size, is_image_name
from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.kitti.calibration import text_lines
from bireal_plugin.errors import InputError

COLUMNS = ('left', 'right', 'focal', 'baseline')


class OwnPair(NamedTuple):
    """Files of a pair, and the camera of the left one."""

    left: Path
    right: Path
    camera: Camera


def pairs_of_folders(left: Path, right: Path, *, focal: float, baseline: float) -> tuple[list[OwnPair], int]:
    """Pairs of images of one name (but for the suffix) in both folders, and the number of images without a partner.

    Args:
        focal: in px of the images as they are on disk. baseline: in m.

    Raises:
        InputError: no folder, or one for both, two images of one name in it, or no pair.
    """
    if left.resolve() == right.resolve():
        raise InputError(f'left and right are one folder, {left}; the right images of the pairs are in another')
    sides = [_images(folder) for folder in (left, right)]
    both = sorted(sides[0].keys() & sides[1].keys())
    if not both:
        first = [str(next(iter(side.values()), folder)) for side, folder in zip(sides, (left, right), strict=True)]
        raise InputError(
            f'{left} and {right} have no images of one name, first {first[0]} and {first[1]}; name both images of a '
            'pair alike, or list them in a table, pairs=FILE.csv with the columns left and right'
        )
    size = image_size(sides[0][both[0]])
    camera = Camera(float(focal), size[1], float(baseline), source=f'focal and baseline of {left}', height=size[0])
    alone = len(sides[0].keys() ^ sides[1].keys())
    return [OwnPair(sides[0][name], sides[1][name], camera) for name in both], alone


def _images(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f'there is no folder {folder} with images of rectified pairs')
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if is_image_name(path.name)):
        if path.stem in found:
            raise InputError(f'{found[path.stem]} and {path} have one name; keep one of them')
        found[path.stem] = path
    return found


def pairs_of_table(path: Path, *, focal: float | None, baseline: float | None) -> list[OwnPair]:
    """Pairs of a CSV file with the columns left and right, and focal and baseline where they are not given.

    Files are relative to the table's folder; columns are divided by commas, semicolons or tabs. A focal length in the
    table is in px of the image of its line.

    Raises:
        InputError: no such file, a missing column or file, or a number that is none.
    """
    if not path.is_file():
        raise InputError(f'there is no table {path} of stereo pairs')
    lines = text_lines(path, otherwise='so it is no table of stereo pairs')
    first = next((number for number, line in enumerate(lines) if line.strip() and not line.startswith('#')), 0)
    # Spreadsheets write semicolons where the decimal point is a comma.
    delimiter = max(',;\t', key=''.join(lines[first : first + 1]).count)
    table = csv.DictReader(lines[first:], delimiter=delimiter, skipinitialspace=True)
    try:
        table.fieldnames = columns = [name.strip().lower() for name in table.fieldnames or ()]
        rows = [*table]
    except csv.Error as error:
        raise InputError(f'{path} is no table of stereo pairs: {error}') from error
    absent = {'left', 'right'} - {*columns}
    for name, value in (('focal', focal), ('baseline', baseline)):
        if value is None and name not in columns:
            absent.add(name)
    if absent:
        raise InputError(
            f'{path} has no column {", ".join(sorted(absent))} in its first line; there must be {", ".join(COLUMNS)}, '
            'the last two unless focal=PX and baseline=METRES are given for all'
        )
    if delimiter != ',':
        for row in rows:
            row.update({name: (row.get(name) or '').replace(',', '.') for name in ('focal', 'baseline')})
    cameras: dict[Any, Camera] = {}
    return [_pair(row, path, number, cameras, focal, baseline) for number, row in enumerate(rows, start=first + 2)]


def _pair(
    row: Mapping[str, str],
    path: Path,
    number: int,
    cameras: dict[Any, Camera],
    focal: float | None,
    baseline: float | None,
) -> OwnPair:
    try:
        files = [_file(path.parent, (row[side] or '').strip()) for side in ('left', 'right')]
    except OSError as error:  # as of a name that is too long
        raise InputError(f'{path}, line {number}: {error.strerror}') from error
    for file in files:
        if not file.is_file():
            raise InputError(f'{path}, line {number}: there is no image {file}')
    given = _numbers(
        (row.get('focal') if focal is None else focal, row.get('baseline') if baseline is None else baseline)
    )
    if given is None:
        raise InputError(f'{path}, line {number}: focal and baseline must be numbers, px and m')
    # A focal length of the table is that of its own line's image, one for all that of the first, as in folders.
    key = (*given, image_size(files[0]) if focal is None else None)
    if key not in cameras:
        height, width = image_size(files[0])
        cameras[key] = Camera(given[0], width, given[1], source=f'{path}, line {number}', height=height)
    return OwnPair(files[0], files[1], cameras[key])


def _file(folder: Path, name: str) -> Path:
    """A file of a table, by its name or by that name with the slashes of Windows turned round."""
    path = folder / name
    return path if path.exists() else folder / name.replace('\\', '/')


def _numbers(values: Iterable[object]) -> tuple[float, float] | None:
    try:
        focal, baseline = (float(str(value)) for value in values)
    except ValueError:
        return None
    return focal, baseline
