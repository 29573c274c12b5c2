"""One server of children for all tests of this folder."""

import pytest

from tests.fuzz.cage import Cage


@pytest.fixture(scope='session')
def cage(tmp_path_factory):
    """Reads files in children; see ``Cage``."""
    cage = Cage(tmp_path_factory.mktemp('seeds'))
    yield cage
    cage.close()
