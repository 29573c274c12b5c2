"""The commands that are killed: how each is started, how it goes on, and what it leaves, without times."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bireal_plugin.depth.street.pairs import StreetPairs
from bireal_plugin.depth.street.scene import write_recording
from tests.conftest import REPOSITORY, TINY
from tests.depth.tiny_depth import SIZE, tiny_depth

# Entries of checkpoints and results that tell when, how long, or by which call something ran.
TIMES = ('seconds', 'stage_seconds', 'time', 'data_time', 'images_per_second', 'eta', 'experiment_name', 'cfg')
STAMP = re.compile(r'_\d{19}')  # at the end of names that tell runs apart

DIGITS = """{tiny}
train_dataloader['num_workers'] = 1
train_dataloader['dataset']['subset'] = 200
stages['float']['train_cfg'] = stages['clip']['train_cfg'] = stages['bn']['train_cfg'] = dict(max_epochs=1)
stages['binary']['train_cfg'] = dict(max_epochs=4)
"""


@dataclass(frozen=True)
class Job:
    """A command.

    Attributes:
        words: of the command line of ``bireal``; ``OUT`` in them is the folder that it writes into.
        going_on: words that are added to go on after a kill.
        left: what is in the folder, by name.
    """

    words: tuple[str, ...]
    going_on: str
    left: Callable[[Path], dict[str, Any]]

    def command(self, folder: Path, *, goes_on: bool = False) -> list[str]:
        """The command line for a folder."""
        return [str(folder) if word == 'OUT' else word for word in self.words] + [self.going_on] * goes_on


def jobs(folder: Path) -> dict[str, Job]:
    """The digits training, an export, and depth maps of a folder; what they need is written into ``folder``.

    Training is every stage of the recipe on 200 digits of 16 x 16 px, 8 epochs, with a process that loads. The export
    writes all formats; the depth maps are of 24 images, in four forms.
    """
    config = folder / 'digits.py'
    config.write_text(DIGITS.format(tiny=TINY.format(repository=REPOSITORY)))
    network = tiny_depth(folder)
    write_recording(folder / 'streets', [StreetPairs('test', 8, size=SIZE).scene(i) for i in range(8)])
    images = folder / 'streets' / '**' / '*.png'
    weights = ('--config', str(network.config), '--checkpoint', str(network.checkpoint))
    forms = ('--save', 'colour', 'png16', 'npy', 'ply', '--focal', '100', '--out', 'OUT')
    formats = ('--format', 'packed', 'openvino', 'onnx', 'tflite', 'qonnx', '--out', 'OUT')
    return {
        'training': Job(('train', str(config), '--work-dir', 'OUT'), '--resume', trained),
        'export': Job(
            ('depth', 'export', str(network.config), str(network.checkpoint), *formats), '--skip-existing', contents
        ),
        'inference': Job(('depth', 'infer', str(images), *weights, *forms), '--skip-existing', contents),
    }


def contents(folder: Path) -> dict[str, Any]:
    """The bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def trained(folder: Path) -> dict[str, Any]:
    """Names of the files of a training, logs aside, and every value in its checkpoints and results that is no time."""
    left: dict[str, Any] = {}
    for path in sorted(folder.rglob('*')):
        name = path.relative_to(folder)
        if path.is_dir() or any(part.startswith('20') for part in name.parts):  # logs lie in folders of their time
            continue
        left[str(name)] = 'file'
        if path.suffix == '.pth':
            left |= leaves(torch.load(path, weights_only=True), str(name))
        elif path.suffix == '.json':
            left |= leaves(json.loads(path.read_text()), str(name))
    return {
        key: STAMP.sub('', value.replace(str(folder), '')) if isinstance(value, str) else value
        for key, value in left.items()
    }


def leaves(value: Any, name: str) -> dict[str, Any]:
    """Values in nested containers by their place, without those of times; tensors as type, shape and bytes."""
    return dict(_leaves(value, name))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if name.rpartition('.')[2].rpartition('/')[2] in TIMES:
        return
    if isinstance(value, (dict, list, tuple)):
        yield name, len(value)
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, f'{name}.{key}')
    elif isinstance(value, torch.Tensor):
        yield name, (value.dtype, value.shape, value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    else:
        yield name, value
