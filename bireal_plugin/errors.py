"""The exception for mistakes of a user, and the check for packages that one engine or command alone needs."""

from importlib.util import find_spec


class InputError(ValueError):
    """A mistake in a config, a file or a flag; the message is one sentence that names it and says how to correct it.

    The commands print it without a traceback and exit with status 1.
    """


def require(*packages: str, engine: str) -> None:
    """Check that ``packages`` are installed; the extra that installs them has the engine's name.

    Raises:
        InputError: one is not.
    """
    for package in packages:
        if find_spec(package) is None:
            raise InputError(f"the {engine} engine needs the package {package}: pip install 'bireal-plugin[{engine}]'")
