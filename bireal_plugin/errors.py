"""The exception for mistakes of a user, the line of another error that it quotes, and a check for optional packages."""

from collections.abc import Collection
from importlib.util import find_spec
from itertools import islice

LONGEST = 4000  # characters of a sentence


class InputError(ValueError):
    """A mistake in a config, a file or a flag; the message is one sentence that names it and says how to correct it.

    The commands print it without a traceback and exit with status 1. Of one that quotes a hostile file at length the
    middle is left out.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= LONGEST else f'{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}'


def check_choice(where: str, name: str, value: object, allowed: Collection[object]) -> None:
    """Refuse a value that is not one of ``allowed``.

    Raises:
        InputError: ``where: name=value is not one of ...``.
    """
    if value not in allowed:
        raise InputError(f'{where}: {name}={value!r} is not one of {", ".join(map(repr, allowed))}')


def listed(names: Collection[str], most: int = 4) -> str:
    """The first names of many for a sentence, ``a, b and 5 more``."""
    return ', '.join(islice(names, most)) + (f' and {len(names) - most} more' if len(names) > most else '')


def require(*packages: str, engine: str) -> None:
    """Check that ``packages`` are installed; the extra that installs them has the engine's name.

    Raises:
        InputError: one is not.
    """
    for package in packages:
        if find_spec(package) is None:
            raise InputError(f"the {engine} engine needs the package {package}: pip install 'bireal-plugin[{engine}]'")


def first_line(error: Exception) -> str:
    """The first line of an error, without the stack that compilers put below."""
    return str(error).strip().partition('\n')[0].rstrip('.') or type(error).__name__


def last_line(error: Exception) -> str:
    """The last line of an engine's error, which names the reason."""
    return str(error).strip().rpartition('\n')[2] or type(error).__name__
