"""Trained networks that the package brings, and the addresses by which files of networks are found.

Each has a folder here, which ``bireal zoo --add`` writes: the packed file, the config and the log of its training, and
of some the weights that training goes on from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bireal_plugin.errors import InputError
from bireal_plugin.text_table import text_table

FOLDER = Path(__file__).parent
WEIGHTS, TRAINING, CONFIG, LOG = 'weights.safetensors', 'training.safetensors', 'config.json', 'log.json'
ZOO, HUB = 'zoo://', 'hf-hub:'
# What the commands take where no network is given.
PHOTOGRAPHS, STREETS = f'{ZOO}bireal_r18_imagenette', f'{ZOO}bireal_r18_street'


def is_address(text: str) -> bool:
    """Whether a text is an address of ``local_file``."""
    return text.startswith((ZOO, HUB))


def name_in(address: str) -> str:
    """The name of the network in an address, as files of it are called."""
    if address.startswith(ZOO):
        return address.removeprefix(ZOO).partition('/')[0]
    return address.removeprefix(HUB).partition('@')[0].rpartition('/')[2]


def local_file(address: str | Path) -> Path:
    """The file of a network that an address names; a path names itself.

    * ``zoo://NAME``: the packed file of a network in this package.
    * ``zoo://NAME/training``: its weights as training left them, which are kept of some.
    * ``hf-hub:OWNER/NAME`` or ``hf-hub:OWNER/NAME@REVISION``: the packed file in a repository of the Hugging Face Hub,
      as ``push_to_hub`` writes it; it is downloaded once.

    Raises:
        InputError: there is no such network, or it cannot be downloaded.
    """
    text = str(address)
    if text.startswith(HUB):
        return _downloaded(text)
    if not text.startswith(ZOO):
        return Path(address)
    name, _, part = text.removeprefix(ZOO).partition('/')
    if name not in names():
        raise InputError(f'there is no {text}; there are {", ".join(ZOO + each for each in names())}')
    if part not in ('', 'training'):
        raise InputError(f'there is no {text}; there are {ZOO}{name} and, of some, {ZOO}{name}/training')
    path = FOLDER / name / (TRAINING if part else WEIGHTS)
    if not path.is_file():
        kept = [f'{ZOO}{each}/training' for each in names() if (FOLDER / each / TRAINING).is_file()]
        raise InputError(f'{ZOO}{name} comes without the weights of its training; there are {", ".join(kept)}')
    return path


def names() -> list[str]:
    """Names of the networks here."""
    return sorted(path.parent.name for path in FOLDER.glob(f'*/{LOG}'))


def config_of(name: str) -> dict[str, Any]:
    """The config that trained a network, all stages of it."""
    return json.loads((FOLDER / name / CONFIG).read_text())


def log_of(name: str) -> dict[str, Any]:
    """The log of a network's training: command, seed, machine, stages, and what was measured of its file."""
    return json.loads((FOLDER / name / LOG).read_text())


def table() -> str:
    """The networks, a line each."""
    rows = []
    for name in names():
        log = log_of(name)
        rows.append(
            {
                'address': ZOO + name,
                'trained on': log['data'],
                'result': ', '.join(f'{key} {value:.2f}' for key, value in log['result'].items()),
                'MB': f'{log["bytes"] / 1e6:.2f}',
                'minutes': f'{sum(stage["seconds"] for stage in log["stages"]) / 60:.1f}',
                'training state': 'yes' if (FOLDER / name / TRAINING).is_file() else '',
            }
        )
    return text_table(rows, left=('address', 'trained on', 'result', 'training state'))


def _downloaded(address: str) -> Path:
    from huggingface_hub import hf_hub_download  # here, since its import takes as long as many a command

    name, _, revision = address.removeprefix(HUB).partition('@')
    try:
        return Path(hf_hub_download(name, WEIGHTS, revision=revision or None))
    except (OSError, ValueError) as error:
        reason = ' '.join(str(error).split())
        raise InputError(
            f'{address} cannot be downloaded ({type(error).__name__}: {reason}); check the name and the connection, or '
            'give a file'
        ) from error
