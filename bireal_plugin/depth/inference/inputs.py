"""Inputs of a command, resolved to files with unique names: images, videos, folders, globs, lists; and their cameras.

Nothing is decoded before its turn, so that one bad file among thousands costs itself alone.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from bireal_plugin.data.image_file import IMAGE_SUFFIXES
from bireal_plugin.depth.camera import Camera, Place, TrainedOn
from bireal_plugin.depth.kitti.calibration import read_calibration, stereo_camera, text_lines
from bireal_plugin.errors import InputError
from bireal_plugin.progress import say
from bireal_plugin.zoo import is_address

VIDEOS = ('.mp4', '.m4v', '.avi', '.mov', '.mkv', '.webm')
SUFFIXES = (*IMAGE_SUFFIXES, *VIDEOS)
KNOWN = (
    f'images ({", ".join(IMAGE_SUFFIXES)}), videos ({", ".join(VIDEOS)}), folders, globs, lists of files (.txt), '
    'numbers of webcams, addresses of streams (http://, rtsp://) and - for a video on standard input'
)
CALIBRATION = 'calib_cam_to_cam.txt'
ALIKE = 1.2  # ratio of proportions (width / height), up to which a network sees things as in its training
ALIKE_BASELINE = 1.03  # ratio, up to which a baseline that is given is that of training
NAMED = 5  # files in a note on others
RAW_LEVELS = 4  # <date>/<drive>/image_02/data/<image>
RAW_DRIVE = re.compile(r'\d{4}_\d\d_\d\d_drive_\d{4}_(sync|extract)')
ADVICE = 'put it there, give --calibration FILE, or --focal PX, or --relative'


@dataclass(frozen=True)
class Input:
    """A file to predict; ``name`` is unique among all inputs, and the names of its outputs begin with it.

    ``stream`` is the address of a video that is no file: of a webcam, of a network, or '-' for standard input.
    """

    path: Path
    name: str
    stream: str | None = None

    def __str__(self) -> str:
        return self.stream or str(self.path)

    @property
    def is_video(self) -> bool:
        """Whether it is a video."""
        return self.stream is not None or self.path.suffix.lower() in VIDEOS


def find_inputs(given: Sequence[str]) -> tuple[list[Input], list[str]]:
    """Files that the words ``given`` name, each once and in order, and a sentence for each word that names none.

    * A folder names the images and videos in it, not in its sub-folders; ``folder/**/*.png`` is for those.
    * A list has a file per line, relative to the list or to the current folder; of a line with several columns, as in
      the lists of stereo pairs ``left right``, the first counts. Lines with ``#`` in front are comments.
    * A whole number is a webcam, an address with ``://`` a video of the network, and ``-`` one on standard input; these
      follow the files.
    """
    files: dict[Path, Path] = {}
    streams: dict[str, Input] = {}
    problems: list[str] = []
    for text in given:
        if (name := stream_name(text)) is not None:
            streams.setdefault(text, Input(Path(text), name, stream=text))
            continue
        try:
            found, unusable = _files_of(text)
        except (InputError, OSError) as error:
            problems.append(str(error))
            continue
        problems += unusable
        for path in found:
            files.setdefault(path.absolute(), path)
    paths = list(files.values())
    named = [Input(path, name) for path, name in zip(paths, unique_names(paths), strict=True)]
    return [*named, *streams.values()], problems


def names_input(text: str) -> bool:
    """Whether a word names inputs, and no network: by its suffix, as a folder or pattern of files, or as a stream."""
    path = Path(text)
    if is_address(text):
        return False
    return (
        path.suffix.lower() in (*SUFFIXES, '.txt')
        or path.is_dir()
        or stream_name(text) is not None
        or (glob.has_magic(text) and not path.exists())
    )


def stream_name(text: str) -> str | None:
    """Name of the outputs of a video that is no file; None for everything else."""
    if text == '-':
        return 'stdin'
    if text.isdecimal() and not Path(text).exists():
        return f'camera{text}'
    return re.sub(r'[^\w.-]+', '-', text.partition('://')[2]).strip('-') or 'stream' if '://' in text else None


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
        # macOS archives carry "._name.png" twins that are no images.
        shown = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith('.'))
        files = [file for file in shown if file.suffix.lower() in SUFFIXES]
        if not files:
            raise InputError(f'there is no image or video in the folder {path}; for those in its folders: {path}/**/*')
        if others := [file.name for file in shown if file not in set(files)]:
            more = f' and {len(others) - NAMED} more' if len(others) > NAMED else ''
            say(
                f'note: {path}: {len(others)} of {len(shown)} files are no image or video and left out: '
                f'{", ".join(others[:NAMED])}{more}',
                file=sys.stderr,
            )
        return files, []
    if path.is_file():
        return _in_list(path) if path.suffix.lower() == '.txt' else _collected([path])
    if glob.has_magic(text):
        found = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
        matching = [path for path in found if path.is_file()]
        if not matching:
            raise InputError(f'no file matches {text}')
        return _collected(matching)
    raise InputError(f'{text} does not exist; inputs are {KNOWN}')


def _in_list(path: Path) -> tuple[list[Path], list[str]]:
    found, problems = [], []
    for number, line in enumerate(text_lines(path, otherwise='and a list of files has one per line'), start=1):
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
    """Camera options of a command, and the stereo pairs that its network was trained on.

    Attributes:
        calibration: a KITTI ``calib_cam_to_cam.txt``, for every image.
        focal: in px of the image's own width. It is for images of a camera of one's own.
        baseline: in m, of the stereo rig that the *network* was trained on, instead of what its file says.
        relative: ask for relative depth, whatever calibration there is.
        cropped: images are crops in full resolution, at this place, of those that the calibration is for.
        trained_on: of the network; None where its file does not say. network: its name in sentences.
        size: (H, W) of the images that the network sees; None for those of its training.
    """

    calibration: Path | None = None
    focal: float | None = None
    baseline: float | None = None
    relative: bool = False
    cropped: Place | None = None
    trained_on: TrainedOn | None = None
    network: str = 'the network'
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for flag, value in (('--focal', self.focal), ('--baseline', self.baseline)):
            if value is not None and not 0 < value < float('inf'):
                raise InputError(f'{flag} must be positive, not {value:g}')
        if self.focal is not None and (self.calibration is not None or self.cropped is not None):
            raise InputError('--focal is that of the image as it is; leave --calibration and --cropped out')
        if self.relative and (self.focal or self.baseline or self.calibration or self.cropped):
            raise InputError('--relative asks for no camera; leave the options that describe one out')

    def check(self) -> None:
        """Find what is wrong for every image, before the first one.

        Raises:
            InputError: the calibration cannot be read, or there is no baseline for the focal length, or none of a rig.
        """
        if self.calibration is not None:
            _stereo_camera(self.calibration)
        if self.focal is not None or self.baseline is not None:
            self._with_baseline(Camera(1, 1, baseline=1, source='--baseline'))

    def camera(self, path: Path, size: tuple[int, int]) -> tuple[Camera | None, str]:
        """Camera of the image or video ``path`` of ``size`` (H, W), and a sentence on the scale of its depth.

        The baseline is that of the network's training, whatever rig took the image. There is no camera where the focal
        length of this image or the baseline is not known: then depth is relative.

        Raises:
            InputError: a calibration that cannot be read, or that is missing from a folder laid out as KITTI's; or
                ``focal`` or ``baseline`` is given and does not suffice.
        """
        if self.relative:
            return None, 'relative depth: as --relative asks'
        file = None if self.focal is not None else self.calibration or calibration_beside(path)
        if self.focal is None and file is None:
            if self.baseline is not None:
                raise InputError(f'{path}: --baseline alone gives no scale; add --focal PX or --calibration FILE')
            return None, 'relative depth: the camera is unknown; for metres give --focal PX, or --calibration FILE'
        if file is not None:
            camera = _stereo_camera(file)
        else:
            assert self.focal is not None
            camera = Camera(self.focal, size[1], baseline=1, source='--focal', height=size[0])
        try:
            camera, origin = self._with_baseline(camera.for_image(size, cropped=self.cropped))
        except InputError as error:
            if self.focal is not None:
                raise
            return None, f'relative depth: {error}'
        numbers = f'focal length {camera.focal:.1f} px at width {camera.width}'
        line = f'metric depth: {camera.source} ({numbers}, baseline {camera.baseline:.4f} m {origin})'
        trained = None if self.trained_on is None else self.trained_on.proportions
        if trained is not None and not trained / ALIKE < (own := size[1] / size[0]) < trained * ALIKE:
            line += (
                f'; roughly, since its proportions, {own:.2f}, are not those of the images in training, {trained:.2f}'
            )
        if self.trained_on is not None and self.size not in (None, self.trained_on.size):
            line += '; not to be trusted, since the network sees images of another size than in training'
        return camera, line

    def _with_baseline(self, camera: Camera) -> tuple[Camera, str]:
        """``camera`` with the baseline of the network's disparities, and the origin of that."""
        if self.baseline is not None:
            own = [] if self.trained_on is None else [each.baseline for each in self.trained_on.cameras]
            other = own and not min(own) / ALIKE_BASELINE < self.baseline < max(own) * ALIKE_BASELINE
            origin = f', where the pairs in training had {" and ".join(f"{each:.4f}" for each in own)}' if other else ''
            return replace(camera, baseline=self.baseline), f'as --baseline says{origin}'
        if self.trained_on is None:
            raise InputError(
                f'{self.network} does not say the baseline of the stereo pairs that it was trained on; for metres give '
                '--baseline METRES (0.5327 for KITTI)'
            )
        return self.trained_on.seen_by(camera), 'of the pairs in training'


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


@lru_cache(maxsize=64)
def _stereo_camera(file: Path) -> Camera:
    return stereo_camera(read_calibration(file), source=f'calibration {file}')
