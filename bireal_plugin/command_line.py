"""How every command of this project ends: quietly, or with one sentence and a non-zero status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from bireal_plugin.errors import InputError


def run_command(main: Callable[[], int | None]) -> None:
    """Call ``main`` and exit with its status; mistakes become ``error: sentence`` on stderr and status 1.

    ``BIREAL_TRACEBACK=1`` in the environment shows where a mistake was found instead.
    """
    if os.environ.get('BIREAL_TRACEBACK'):
        sys.exit(main())
    try:
        status = main()
    except (InputError, OSError) as error:
        print(f'error: {_sentence(error)}', file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print('interrupted; what was saved stays, and --resume continues from there', file=sys.stderr)
        status = 130
    sys.exit(status)


def _sentence(error: Exception) -> str:
    """The message; of an error out of a DataLoader's worker the last line, since torch puts the traceback before it."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(': ')[2] if 'Traceback' in text else text
