"""A thousand mutated files, spread over all readers: each is read or refused in a sentence, and nothing else happens.

``python -m tests.fuzz 20000`` reads more of them.
"""

import pytest

from tests.fuzz.cage import FAILURES
from tests.fuzz.readers import READERS, shares

CASES = shares(1000)


@pytest.mark.parametrize('reader', READERS)
def test_a_mutated_file_is_read_or_refused_in_a_sentence(cage, reader):
    outcomes = enumerate(cage.attempts(reader, 0, CASES[reader]))
    failed = [f'{reader} {number}: {found}' for number, found in outcomes if found['outcome'] in FAILURES]
    assert failed == []


@pytest.mark.parametrize('reader', READERS)
def test_files_that_were_not_changed_are_read(cage, reader):
    """Or the mutations would test nothing behind a first refusal."""
    (told,) = cage.attempts(reader, -1, 1)
    assert told['outcome'] == 'read', told['text']
