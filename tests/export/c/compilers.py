"""Whether this machine has a C compiler."""

import pytest

from bireal_plugin.c_compiler import chosen
from bireal_plugin.errors import InputError


def compiler_is_missing():
    try:
        chosen()
    except InputError as error:
        return str(error)
    return ''


needs_compiler = pytest.mark.skipif(bool(compiler_is_missing()), reason=compiler_is_missing() or 'present')
