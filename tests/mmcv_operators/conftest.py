"""mmcv with our operators, whether or not it has compiled ones."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from bireal_plugin.mmcv_operators.finder import OPERATORS, OperatorFinder


@pytest.fixture(scope='session')
def with_our_operators() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Context in which mmcv calls our operators alone."""
    pytest.importorskip('mmcv', reason='mmcv or mmcv-lite, of the extra det, is not installed')
    import mmcv.ops  # noqa: F401  what is patched below

    ours = SimpleNamespace(**OPERATORS)

    @contextlib.contextmanager
    def patched() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for name, module in list(sys.modules.items()):
                if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module'):
                    stack.enter_context(patch.object(module, 'ext_module', ours))
            yield

    return patched


@pytest.fixture(scope='session')
def compiled() -> None:
    """Skips where mmcv has no compiled operators to compare with."""
    pytest.importorskip('mmcv', reason='mmcv, of the extra det-compiled, is not installed')
    if isinstance(find_spec('mmcv._ext').loader, OperatorFinder):
        pytest.skip('this is mmcv-lite; the compiled mmcv of the extra det-compiled is not installed')
