"""Fixtures that several test folders share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get('BIREAL_DATA', Path(__file__).parents[1].parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'no real data in {folder}; set BIREAL_DATA')
    return folder
