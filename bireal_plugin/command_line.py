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
        print(f'error: {error}', file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        print('interrupted; what was saved stays, and --resume continues from there', file=sys.stderr)
        status = 130
    sys.exit(status)
