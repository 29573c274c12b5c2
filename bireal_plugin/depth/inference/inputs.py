"""Inputs of a command, resolved to files with unique names: images, videos, folders, globs, lists; and their cameras.

Nothing is decoded before its turn, so that one bad file among thousands costs itself alone.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from bireal_plugin.data.image_file import IMAGE_SUFFIXES
from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.kitti.calibration import read_calibration, stereo_camera
from bireal_plugin.errors import InputError

VIDEOS = ('.mp4', '.avi', '.mov', '.mkv')
SUFFIXES = (*IMAGE_SUFFIXES, *VIDEOS)
KNOWN = f'images ({", ".join(IMAGE_SUFFIXES)}), videos ({", ".join(VIDEOS)}), folders, globs and lists of files (.txt)'
CALIBRATION = 'calib_cam_to_cam.txt'
RAW_LEVELS = 4  # <date>/<drive>/image_02/data/<image>
RAW_DRIVE = re.compile(r'\d{4}_\d\d_\d\d_drive_\d{4}_(sync|extract)')
ADVICE = 'put it there, give --calibration FILE, or --focal PX and --baseline METRES, or --relative'


@dataclass(frozen=True)
class Input:
    """A file to predict; ``name`` is unique among all inputs, and the names of its outputs begin with it."""

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether the file is a video."""
        return self.path.suffix.lower() in VIDEOS


def find_inputs(given: Sequence[str]) -> tuple[list[Input], list[str]]:
    """Files that the words ``given`` name, each once and in order, and a sentence for each word that names none.

    * A folder names the images and videos in it, not in its sub-folders; ``folder/**/*.png`` is for those.
    * A list has a file per line, relative to the list or to the current folder; of a line with several columns, as in
      the lists of stereo pairs ``left right``, the first counts. Lines with ``#`` in front are comments.
    """
    files: dict[Path, Path] = {}
    problems: list[str] = []
    for text in given:
        try:
            found, unusable = _files_of(text)
        except (InputError, OSError) as error:
            problems.append(str(error))
            continue
        problems += unusable
        for path in found:
            files.setdefault(path.absolute(), path)
    paths = list(files.values())
    return [Input(path, name) for path, name in zip(paths, unique_names(paths), strict=True)], problems


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Unique names of different files: the stem, or where several share it the path below their common folder.

    ``image_02/0.png`` and ``image_03/0.png`` are ``image_02-0`` and ``image_03-0``; ``a.png`` and ``a.jpg`` in one
    folder keep the suffix, ``a-png`` and ``a-jpg``.

    Raises:
        InputError: dashes in the names of files make two of them equal.
    """
    folders: dict[str, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.stem, []).append(path.absolute().parent)
    common = {stem: os.path.commonpath(sharing) for stem, sharing in folders.items()}
    below = [path.absolute().relative_to(common[path.stem]) for path in paths]
    forms: list[Callable[[Path], str]] = [
        lambda path: path.stem,
        lambda path: '-'.join(path.with_suffix('').parts),
        lambda path: '-'.join((*path.with_suffix('').parts, path.suffix[1:])),
    ]
    level = [0] * len(below)
    while True:
        names = [forms[form](path) for form, path in zip(level, below, strict=True)]
        count = Counter(names)
        shared = [i for i, name in enumerate(names) if count[name] > 1]
        if not shared:
            return names
        longer = [i for i in shared if level[i] + 1 < len(forms)]
        if not longer:
            raise InputError(f'two inputs would both be called {names[shared[0]]}; give them in two calls, other --out')
        for i in longer:
            level[i] += 1


def _files_of(text: str) -> tuple[list[Path], list[str]]:
    """Files that one word names, and sentences on the lines of a list that name none."""
    path = Path(text)
    if path.is_dir():
        return _in_folder(path), []
    if path.is_file():
        return _in_list(path) if path.suffix.lower() == '.txt' else _collected([path])
    if glob.has_magic(text):
        found = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
        matching = [path for path in found if path.is_file()]
        if not matching:
            raise InputError(f'no file matches {text}')
        return _collected(matching)
    raise InputError(f'{text} does not exist; inputs are {KNOWN}')


def _in_folder(folder: Path) -> list[Path]:
    # macOS archives carry "._name.png" twins that are no images.
    files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith('.')]
    if not files:
        raise InputError(f'there is no image or video in the folder {folder}; for those in its folders: {folder}/**/*')
    return sorted(files)


def _in_list(path: Path) -> tuple[list[Path], list[str]]:
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f'{path} is no text, and a list of files has one per line') from error
    found, problems = [], []
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if line and not line.startswith('#'):
            candidates = [folder / name for name in (line, line.split()[0]) for folder in (path.parent, Path())]
            file = next((candidate for candidate in candidates if candidate.is_file()), None)
            if file is None:
                problems.append(f'{path}, line {number}: {line} is no file, neither from {path.parent} nor from here')
            else:
                found.append(file)
    if not found and not problems:
        raise InputError(f'the list {path} is empty; it has one file per line')
    usable, unusable = _collected(found)
    return usable, problems + unusable


def _collected(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Images and videos among ``paths``, and a sentence on each other file."""
    usable = [path for path in paths if path.suffix.lower() in SUFFIXES]
    unknown = [path for path in paths if path.suffix.lower() not in SUFFIXES]
    return usable, [f'{path} has the unknown suffix {path.suffix!r}; inputs are {KNOWN}' for path in unknown]


@dataclass(frozen=True)
class CameraChoice:
    """Camera options of a command.

    Attributes:
        calibration: a KITTI ``calib_cam_to_cam.txt``, for every image.
        focal: in px of the image's own width. It is for images of a camera of one's own.
        baseline: in m, of the stereo rig that the *network* was trained on; replaces the calibration's.
        relative: ask for relative depth, whatever calibration there is.
    """

    calibration: Path | None = None
    focal: float | None = None
    baseline: float | None = None
    relative: bool = False

    def __post_init__(self) -> None:
        for flag, value in (('--focal', self.focal), ('--baseline', self.baseline)):
            if value is not None and not 0 < value < float('inf'):
                raise InputError(f'{flag} must be positive, not {value:g}')
        if self.focal is not None and self.baseline is None:
            raise InputError('--focal needs --baseline, that of the stereo pairs in training (0.5327 m for KITTI)')
        if self.focal is not None and self.calibration is not None:
            raise InputError('--calibration and --focal both give the focal length; leave one of them out')
        if self.relative and (self.focal or self.baseline or self.calibration):
            raise InputError('--relative asks for no camera; leave --calibration, --focal and --baseline out')

    def camera(self, path: Path, width: int) -> Camera | None:
        """Camera of the image or video ``path`` of ``width`` px; None where none is known.

        Raises:
            InputError: a calibration that cannot be read, or that is missing from a folder laid out as KITTI's.
        """
        if self.relative:
            return None
        if self.focal is not None:
            assert self.baseline is not None
            return Camera(self.focal, width, self.baseline, cx=None, cy=None, source='--focal and --baseline')
        file = self.calibration or calibration_beside(path)
        if file is None:
            if self.baseline is not None:
                raise InputError(f'{path}: --baseline alone gives no scale; add --focal PX or --calibration FILE')
            return None
        camera = _stereo_camera(file)
        if self.baseline is not None:
            camera = replace(camera, baseline=self.baseline, source=f'{camera.source} with --baseline')
        return camera


def calibration_beside(path: Path) -> Path | None:
    """Calibration file of an image in KITTI's raw layout; None for an image elsewhere.

    Raises:
        InputError: the layout is KITTI's, and the calibration is not in the folder of the date.
    """
    folders = path.absolute().parents
    for folder in list(folders)[:RAW_LEVELS]:
        if (folder / CALIBRATION).is_file():
            return folder / CALIBRATION
    for folder in folders:
        if RAW_DRIVE.fullmatch(folder.name):
            raise InputError(f'{path}: its calibration {folder.parent / CALIBRATION} is missing; {ADVICE}')
    return None


def sentence(camera: Camera | None, width: int) -> str:
    """Sentence on the scale of an image and its origin."""
    if camera is None:
        return (
            'relative depth: the camera is unknown; for metres give --focal PX and --baseline METRES, or --calibration'
        )
    return (
        f'metric depth: {camera.source} (focal length {camera.focal_at(width):.1f} px at width {width}, '
        f'baseline {camera.baseline:.4f} m)'
    )


@lru_cache(maxsize=64)
def _stereo_camera(file: Path) -> Camera:
    return stereo_camera(read_calibration(file), source=f'calibration {file}')
