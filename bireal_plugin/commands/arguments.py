"""Arguments that several commands share: one spelling each, and notes where an older one is used."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from bireal_plugin.errors import InputError
from bireal_plugin.training.config import load_config, prepare_launch
from bireal_plugin.training.trained import checkpoint_config

DEEP = re.compile(r'([(\[][^)\]]*){11}')  # brackets that open before one closes


class Words(argparse.Action):
    """A list of words: ``--format packed onnx``; ``--format packed,onnx`` means the same.

    Args:
        older: former spellings of words, to the present ones. known: the words that there are; None takes any.

    Raises:
        InputError: an unknown word.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        self.older: Mapping[str, str] = options.pop('older', {})
        self.known: Sequence[str] | None = options.pop('known', None)
        super().__init__(option_strings, dest, **{'nargs': '+', **options})

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        words = [word for value in values for word in value.split(',') if word]
        for word in words:
            if word in self.older:
                print(f'note: {option} {word} is called {self.older[word]} now', file=sys.stderr)
        words = [self.older.get(word, word) for word in words]
        for word in words:
            if self.known is not None and word not in self.known:
                raise InputError(f'{option} {word}: there are {", ".join(self.known)}')
        setattr(namespace, self.dest, list(dict.fromkeys(words)))


class Renamed(argparse.Action):
    """An older spelling, which works as the one in ``now`` and says so on stderr."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, now: str, append: bool = False, **options: Any):
        super().__init__(option_strings, dest, **{'help': argparse.SUPPRESS, 'default': argparse.SUPPRESS, **options})
        self.now, self.append = now, append

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        print(f'note: {option} is called {self.now} now', file=sys.stderr)
        earlier = getattr(namespace, self.dest, None) or []
        setattr(namespace, self.dest, [*earlier, values] if self.append else values)


LONGEST = 10_000  # characters of KEY=VALUE


def _goes_on(value: str) -> bool:
    """Whether a list or tuple in front of ``value`` ends before another character than a comma."""
    depth = 0
    for place, letter in enumerate(value if value[:1] in ('(', '[') else ''):
        depth += (letter in '([') - (letter in ')]')
        if depth == 0 and letter in ')]' and value[place + 1 : place + 2] not in ('', ','):
            return True
    return False


class Overrides(DictAction):
    """mmengine's reader of ``KEY=VALUE`` words.

    Raises:
        InputError: a word without ``=``, or brackets that do not match.
    """

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        for word in values:
            if '=' not in word.strip('='):
                raise InputError(
                    f'{option} {" ".join(values)[:200]}: {word[:80]!r} is no KEY=VALUE, such as data_root=/data'
                )
            if len(word) > LONGEST:  # mmengine's reader takes the square of it
                raise InputError(f'{option} {word[:80]}: {len(word)} characters are no value of a config')
            if DEEP.search(word):  # mmengine's reader and its writer of configs take long for these
                raise InputError(f'{option} {word[:80]}: brackets within so many brackets are no value of a config')
            if _goes_on(word.partition('=')[2].strip()):  # mmengine's reader would not end
                raise InputError(f'{option} {word[:80]}: behind a list or tuple stands neither a comma nor the end')
        try:
            super().__call__(parser, namespace, values, option)
        except (AssertionError, ValueError, IndexError, RecursionError) as error:
            raise InputError(f'{option} {" ".join(values)[:200]}: the value cannot be read ({error})') from error


def add_size(parser: argparse._ActionsContainer, explained: str, **options: Any) -> None:
    """``--size H W`` of images, px."""
    parser.add_argument('--size', nargs=2, type=positive, metavar=('H', 'W'), help=explained, **options)


def add_overrides(parser: argparse._ActionsContainer) -> None:
    """``--cfg-options``."""
    explained = 'change entries of the config, such as model.backbone.depth=34'
    parser.add_argument('--cfg-options', nargs='+', action=Overrides, metavar='KEY=VALUE', help=explained)


def add_launcher(parser: argparse._ActionsContainer) -> None:
    """``--launcher``, and the flag that torch.distributed.launch passes; torchrun sets a variable instead."""
    explained = 'of several processes: pytorch, slurm or mpi (default: none)'
    launchers = ['none', 'pytorch', 'slurm', 'mpi']
    parser.add_argument('--launcher', choices=launchers, default='none', metavar='NAME', help=explained)
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def launch(config: Config, arguments: argparse.Namespace) -> None:
    """Join the other processes, if there are any; see ``prepare_launch``."""
    os.environ.setdefault('LOCAL_RANK', str(arguments.local_rank))
    prepare_launch(config, arguments.launcher)


def add_trained(parser: argparse.ArgumentParser) -> None:
    """``[CONFIG] CHECKPOINT``, and the choices of ``add_trained_options``; see ``trained``."""
    explained = 'config, file or name (default: the one the checkpoint carries)'
    parser.add_argument('config', nargs='?', metavar='CONFIG', help=explained)
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='file of trained weights')
    add_trained_options(parser)


def add_trained_options(parser: argparse._ActionsContainer, *, config: bool = False, brief: bool = False) -> None:
    """Choices that ``load_trained`` takes; with ``config`` also ``--config``, where CONFIG has no place.

    Where there is little room, ``brief`` leaves ``--cfg-options`` out, and ``--allow-other-network`` out of the help,
    since the sentence of a refusal names it.
    """
    add = parser.add_argument
    if config:
        add('--config', metavar='CONFIG', help='file or name (default: the one the checkpoint carries)')
    add('--stage', metavar='NAME', help="of a recipe's config (default: the checkpoint's own)")
    other = argparse.SUPPRESS if brief else 'take weights that were trained as another network'
    add('--allow-other-network', action='store_true', help=other)
    if not brief:
        add_overrides(parser)


def trained(arguments: argparse.Namespace, checkpoint: str | Path) -> dict[str, Any]:
    """Arguments for ``load_trained``: its config is that of CONFIG and ``--cfg-options``.

    Raises:
        InputError: a mistake in either, or a config stands where the checkpoint belongs.
    """
    overrides = getattr(arguments, 'cfg_options', None)
    config = None  # the one that the checkpoint carries, as it is
    if arguments.config is not None:
        config = load_config(arguments.config, overrides)
    elif Path(checkpoint).suffix == '.py':
        raise InputError(
            f'{checkpoint} is a config, where the file of trained weights belongs: CONFIG stands in front of that, or '
            'is given as --config'
        )
    elif overrides:
        config = checkpoint_config(checkpoint, overrides)
    choices = dict(stage=arguments.stage, allow_other_network=arguments.allow_other_network)
    return dict(config=config, checkpoint=checkpoint, **choices)


def add_existing(parser: argparse._ActionsContainer) -> None:
    """``--overwrite`` and ``--skip-existing``; see ``to_write``."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument('--overwrite', action='store_true', help='replace files that exist')
    group.add_argument('--skip-existing', action='store_true', help='leave files that exist as they are')


def to_write(paths: Iterable[Path], arguments: argparse.Namespace, flag: str = '--out') -> list[Path]:
    """Those of ``paths`` that are to be written: all with ``--overwrite``, the missing ones with ``--skip-existing``.

    Args:
        flag: that named the paths, for the sentence.

    Raises:
        InputError: one of them exists and neither was given.
    """
    paths = list(paths)
    there = [path for path in paths if path.is_file()]
    if there and not (arguments.overwrite or arguments.skip_existing):
        raise InputError(f'{there[0]} exists; give another {flag}, --overwrite to replace it, or --skip-existing')
    return [path for path in paths if arguments.overwrite or path not in there]


def is_weights(source: str) -> bool:
    """Whether ``source`` names trained weights, and not a config."""
    return '://' in source or Path(source).suffix not in ('', '.py')


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number of 1 or more, not {text}')
    return int(text)
