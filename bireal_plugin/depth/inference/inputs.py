"""Inputs of a command: images, videos, folders, globs and lists of files, resolved to files with unique names.

Nothing is decoded before its turn, so that one bad file among thousands costs itself alone.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bireal_plugin.data.image_file import IMAGE_SUFFIXES
from bireal_plugin.errors import InputError

VIDEOS = ('.mp4', '.avi', '.mov', '.mkv')
KNOWN = f'images ({", ".join(IMAGE_SUFFIXES)}), videos ({", ".join(VIDEOS)}), folders, globs and lists of files (.txt)'


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
        if path.suffix.lower() == '.txt':
            return _in_list(path)
        return [_checked(path)], []
    if glob.has_magic(text):
        found = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
        matching = [path for path in found if path.is_file()]
        if not matching:
            raise InputError(f'no file matches {text}')
        return _collected(matching)
    raise InputError(f'{text} does not exist; inputs are {KNOWN}')


def _in_folder(folder: Path) -> list[Path]:
    suffixes = (*IMAGE_SUFFIXES, *VIDEOS)
    # macOS archives carry "._name.png" twins that are no images.
    files = [path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith('.')]
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


def _collected(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    usable, problems = [], []
    for path in paths:
        try:
            usable.append(_checked(path))
        except InputError as error:
            problems.append(str(error))
    return usable, problems


def _checked(path: Path) -> Path:
    if path.suffix.lower() not in (*IMAGE_SUFFIXES, *VIDEOS):
        raise InputError(f'{path} has the unknown suffix {path.suffix!r}; inputs are {KNOWN}')
    return path
