"""ImageNet, or anything else laid out as one folder of images per class."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import DATASETS
from PIL import Image

from bireal_plugin.data.classification import ClassificationDataset, Split, checked_split
from bireal_plugin.data.image_file import IMAGE_SUFFIXES, is_image_name, read_rgb
from bireal_plugin.errors import InputError

SYNSET_FILE = 'LOC_synset_mapping.txt'


@DATASETS.register_module()
class ImageNetFolder(ClassificationDataset):
    """Images in ``root/{train,val}/<class>/*.JPEG``; the class index is the rank of the folder's name (a WordNet id).

    The folders of ``train`` define the classes where it exists, so that both splits agree. Where human names are known,
    from ``names`` or ImageNet's ``LOC_synset_mapping.txt`` in ``root``, ``metainfo`` gains them as ``class_names``; the
    order remains.

    Args:
        root: the folder with ``train`` and ``val``.
        split: 'train' or 'val'; 'test' means 'val', since ImageNet's own test labels are not public.
        names: human name of every class by the name of its folder.
        options: transform, seed, subset, see ``ClassificationDataset``.

    Raises:
        InputError: a missing or empty folder, validation images that are not sorted into class folders, classes of
            ``val`` that ``train`` lacks, classes without a name, an unreadable image (when it is read), and what
            ``ClassificationDataset`` raises.
    """

    name = 'ImageNet'

    def __init__(
        self, root: str | Path, split: Split = 'train', *, names: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        root = Path(root)
        self.folder = root / ('train' if checked_split(split) == 'train' else 'val')
        present = class_folders(root, self.folder)
        train = root / 'train'
        classes = class_folders(root, train) if train.is_dir() else present
        unknown = sorted(set(present) - set(classes))
        if unknown:
            raise InputError(
                f'{self.folder} has {len(unknown)} class folder(s) that {train} lacks, first {unknown[0]}: '
                'both must come from the same ImageNet, so add them to train or remove them'
            )
        files_of_all: list[str] = []
        targets: list[int] = []
        for wnid in present:
            folder = self.folder / wnid
            files = sorted(name for name in os.listdir(folder) if is_image_name(name))
            if not files:
                suffixes = ', '.join(IMAGE_SUFFIXES)
                raise InputError(f'{folder} holds no image ({suffixes}): unpack this class again or remove the folder')
            files_of_all.extend(f'{wnid}/{file}' for file in files)
            targets.extend([classes.index(wnid)] * len(files))
        self.class_names = named(classes, names) if names else read_class_names(root / SYNSET_FILE, classes)
        # One block of bytes: reference counts would copy a list of a million str into every worker.
        paths = np.array([os.fsencode(name) for name in files_of_all])
        super().__init__(paths, np.array(targets, dtype=np.int64), classes=classes, **options)

    @property
    def metainfo(self) -> dict[str, Any]:
        """``classes`` and ``dataset`` of the base class, and ``class_names`` where they are known."""
        names = {} if self.class_names is None else dict(class_names=list(self.class_names))
        return super().metainfo | names

    def image(self, index: int) -> Image.Image:
        """Decode image number ``index`` to RGB; an EXIF orientation is ignored, as everywhere in ImageNet training.

        Raises:
            InputError: the file is corrupt, truncated, or gone; see ``read_rgb``.
        """
        return read_rgb(self.folder / os.fsdecode(self.samples[index]), exif=False)


def class_folders(root: Path, folder: Path) -> list[str]:
    """Names of the class folders in ``folder``, sorted.

    Raises:
        InputError: ``folder`` is missing, has no class folder, or has images in their place.
    """
    layout = f'{root}/{{train,val}}/<wnid>/*.JPEG'
    if not folder.is_dir():
        raise InputError(
            f'ImageNet was expected as {layout}, but {folder} does not exist: '
            'point to the folder that holds train and val with --cfg-options data_root=PATH'
        )
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith('.')]
    names = sorted(entry.name for entry in visible if entry.is_dir())
    if names:
        return names
    if any(is_image_name(entry.name) for entry in visible):
        raise InputError(
            f'{folder} holds images without class folders, as the official archive unpacks: move each image into the '
            f"folder of its class's WordNet id, so that the layout is {layout}"
        )
    raise InputError(
        f'{folder} has no class folder: ImageNet was expected as {layout}, so unpack it there or '
        'point elsewhere with --cfg-options data_root=PATH'
    )


def named(classes: list[str], names: Mapping[str, str]) -> list[str]:
    """Human names of ``classes``.

    Raises:
        InputError: a class has none.
    """
    for name in classes:
        if name not in names:
            raise InputError(f'names of the dataset has none for the class folder {name}: add one, or drop names')
    return [names[name] for name in classes]


def read_class_names(file: Path, classes: list[str]) -> list[str] | None:
    """Human names of ``classes``, from lines such as ``n01440764 tench, Tinca tinca``; None if there is no file.

    Raises:
        InputError: the file lacks one of the classes or is not text.
    """
    if not file.is_file():
        return None
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f'{file} is not UTF-8 text ({error}): download it again or remove it') from error
    names = {wnid: name for wnid, _, name in (line.partition(' ') for line in lines)}
    for wnid in classes:
        if not names.get(wnid):
            raise InputError(f'{file} has no name for the class {wnid}: add a line "{wnid} NAME", or remove the file')
    return [names[wnid] for wnid in classes]
