"""Whether this machine has a C compiler."""

import pytest

from bireal_plugin.errors import InputError
from bireal_plugin.export.c.compiler import chosen


def compiler_is_missing():
    try:
        chosen()
    except InputError as error:
        return str(error)
    return ''


needs_compiler = pytest.mark.skipif(bool(compiler_is_missing()), reason=compiler_is_missing() or 'present')
