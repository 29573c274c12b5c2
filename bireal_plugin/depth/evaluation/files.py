"""Predictions in files: a map per image in a folder, or all of them stacked in one array."""

from __future__ import annotations

import math
import struct
import tokenize
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile, ZipFile

import numpy as np

from bireal_plugin.data.image_file import MAX_PIXELS
from bireal_plugin.depth.camera import Cropped, crop_corner, prediction_place
from bireal_plugin.depth.evaluation.cases import OWN_CAMERA, Case, CaseList, Kind, Predictions, metric_depth
from bireal_plugin.depth.maps import filled_at, read_depth_png, resized_depth
from bireal_plugin.errors import InputError, listed

Unit = Literal['px', 'width']
ENDINGS: Mapping[Kind, tuple[str, ...]] = {'disparity': ('', '_disparity', '_disp'), 'depth': ('', '_depth')}
FAR = 500  # m
STACKS = ('.npy', '.npz')
UNPACKED = 2**29  # bytes of an .npz that are taken into memory
# Errors of numpy and zipfile on bytes that are no array.
UNREADABLE = (
    *(ValueError, EOFError, OSError, BadZipFile, zlib.error, struct.error, RuntimeError, MemoryError, LookupError),
    *(TypeError, SyntaxError, OverflowError, tokenize.TokenError),
)


def from_files(
    place: Path,
    kind: Kind,
    listed: CaseList,
    *,
    unit: Unit | None = None,
    cropped: Cropped | None = None,
) -> Predictions:
    """Predictions in files, disparities or depths in m.

    A file, ``.npy`` or ``.npz``, or 16-bit ``.png`` of the value x 256, holds (h, w) values, 0 or less (of depths also
    infinite) where nothing is predicted. It has one of the case's aliases as its name, ``_disparity``, ``_disp`` or
    ``_depth`` behind it or not. One ``.npy`` or ``.npz`` in the place of the folder holds (N, h, w) values, of all
    frames of the split in its order, or of those with ground truth.

    Args:
        unit: of disparities, 'px' of the width w or shares of the 'width'. None takes values that are all at most 1 for
            shares, which a note says.
        cropped: see ``prediction_place``.

    Raises:
        InputError: no such folder or file; and for each prediction one that is missing or holds anything else.
    """
    if place.is_dir():
        read = _reader_of_folder(place, kind)
    elif place.suffix in STACKS and place.is_file():
        read = _reader_of_stack(place, listed)
    else:
        raise InputError(f'there is no folder {place} with predictions, nor a .npy or .npz file of all of them')
    notes: list[str] = []
    units: set[Unit] = set() if unit is None else {unit}

    def note(text: str) -> None:
        if text not in notes:
            notes.append(text)

    def depth(case: Case, size: tuple[int, int]) -> np.ndarray:
        values, source = read(case)
        if kind == 'disparity' and values.max() > 0:
            looks: Unit = 'width' if values.max() <= 1 else 'px'
            units.add(unit or looks)
            if len(units) > 1:
                raise InputError(
                    f'{source} has disparities of up to {values.max():g}, which look like {looks}, unlike those of '
                    'other images: say with --unit px or width which they are'
                )
            if 'width' in units:
                values = values * np.float32(values.shape[1])
                if unit is None:
                    note('read as shares of the width, since none is above 1 (--unit px if they are px)')
            if np.median(values[values > 0]) > values.shape[1]:
                raise InputError(
                    f'half of the disparities of {source} are larger than its width of {values.shape[1]} px, so they '
                    'are none: divide numbers x 256 by 256, and give depths with --depths'
                )
        if kind == 'depth' and np.median(values) > FAR:
            note(
                f'half of a map is beyond {FAR} m, which are hardly metres: divide mm by 1000, and numbers x 256 by 256'
            )
        if (crop := prediction_place(size, values.shape, cropped)) is not None:
            (row, column), (height, width) = crop_corner(size, values.shape, crop), values.shape
            note(f'maps of {width} x {height} placed at the {crop} of the image')
            part, values = values, np.zeros(size, np.float32)
            values[row : row + height, column : column + width] = part
        found = metric_depth(case.camera(), values, size) if kind == 'disparity' else resized_depth(values, size)
        return np.where(filled_at(values, size), found, np.float32(np.inf))

    return Predictions(f'{kind} files in {place}', depth, OWN_CAMERA if kind == 'disparity' else None, notes)


Reader = Callable[[Case], tuple[np.ndarray, str]]


def _reader_of_folder(folder: Path, kind: Kind) -> Reader:
    def read(case: Case) -> tuple[np.ndarray, str]:
        endings = [f'{ending}{suffix}' for ending in ENDINGS[kind] for suffix in (*STACKS, '.png')]
        candidates = [folder / f'{alias}{ending}' for alias in case.aliases for ending in endings]
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise InputError(f'{folder} has no {kind} for {case.name}: there is no {candidates[0].name}, .npz or .png')
        return read_depth_png(found) if found.suffix == '.png' else _one_map(_array(found), str(found)), str(found)

    return read


def _reader_of_stack(path: Path, listed: CaseList) -> Reader:
    stack = _array(path)
    stack = stack[..., 0] if stack.ndim == 4 and stack.shape[3] == 1 else stack
    stack = stack[:, 0] if stack.ndim == 4 and stack.shape[1] == 1 else stack
    if stack.ndim != 3:
        raise InputError(f'{path} holds {stack.dtype} of shape {stack.shape}, not a map for each image, (N, H, W)')
    if len(stack) not in (listed.total, len(listed.cases)):
        raise InputError(
            f'{path} holds {len(stack)} maps, but the split lists {listed.total} frames, {len(listed.cases)} of them '
            'with ground truth; give the list (--split) that they were predicted for'
        )
    whole = len(stack) == listed.total
    places = {case.name: case.index if whole else number for number, case in enumerate(listed.cases)}

    def read(case: Case) -> tuple[np.ndarray, str]:
        source = f'{path}, map {places[case.name]}'
        return _one_map(stack[places[case.name]], source), source

    return read


def _array(path: Path) -> np.ndarray:
    try:
        content = np.load(path, mmap_mode='r', allow_pickle=False)  # by parts, and no more than there is
        if isinstance(content, np.ndarray):
            return content
        with content:
            if len(content.files) == 1:
                _check_unpacked(content.zip, path)
                return content[content.files[0]]
    except UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'{path} is no whole {path.suffix} file of numbers; write it with numpy.save') from error
    raise InputError(f'{path} holds the arrays {listed(content.files)}; give a file with the predictions alone')


def _check_unpacked(archive: ZipFile, path: Path) -> None:
    """Refuse an array in an archive that takes more memory than ``UNPACKED``, or that its entry is too small for."""
    entry = archive.infolist()[0]
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read.get(version, read[2, 0])(file)
        if file.tell() + math.prod(shape) * dtype.itemsize != entry.file_size:
            raise ValueError('header and size differ')
    if entry.file_size > UNPACKED:
        raise InputError(f'{path} unpacks to {entry.file_size / 1e9:.1f} GB; write it with numpy.save, as .npy')


def _one_map(values: np.ndarray, source: str) -> np.ndarray:
    """(h, w) float32."""
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values.squeeze(0 if values.shape[0] == 1 else 2)
    if values.ndim != 2 or not values.size or values.dtype.kind not in 'fiu':
        raise InputError(f'{source} holds {values.dtype} of shape {values.shape}, not one number per pixel, (H, W)')
    if values.size > MAX_PIXELS:
        raise InputError(
            f'{source} has {values.size / 1e6:.0f} million pixels, and a map has up to {MAX_PIXELS / 1e6:.0f}'
        )
    if np.isnan(values).any():
        raise InputError(f'{source} has values that are no numbers (nan); write 0 where nothing is predicted')
    return values.astype(np.float32)
