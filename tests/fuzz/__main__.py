"""``python -m tests.fuzz 20000`` reads that many mutated files with all readers and prints a table.

``python -m tests.fuzz 20000 image onnx`` reads with these alone, ``python -m tests.fuzz --case image 17`` one file in
this process, to see where it ends.
"""

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bireal_plugin.text_table import text_table
from tests.fuzz.cage import FAILURES, Cage


def main(words):
    if words[0] == '--case':
        _one(words[1], int(words[2]))
        return
    from tests.fuzz.readers import shares

    cage, rows = Cage(_seeds()), []
    for name, count in shares(int(words[0])).items():
        if not words[1:] or name in words[1:]:
            rows.append(_row(name, list(_told(cage, name, count))))
            print(rows[-1], file=sys.stderr, flush=True)
    cage.close()
    total = {key: sum(row[key] for row in rows) for key in ('cases', 'read', 'refused', *FAILURES)}
    print(text_table([*rows, dict(reader='total', **total)], left=('reader',)))


def _told(cage, name, count):
    """The outcomes of the cases; failures are printed."""
    begun = time.monotonic()
    for number, found in enumerate(cage.attempts(name, 0, count)):
        if found['outcome'] in FAILURES:
            print(f'--- {name} {number}: {found["outcome"]}\n{found["text"][-1500:]}', file=sys.stderr, flush=True)
        yield found
    print(f'{name}: {time.monotonic() - begun:.0f} s', file=sys.stderr)


def _row(name, outcomes):
    ends = Counter(found['outcome'] for found in outcomes)
    return dict(
        reader=name,
        cases=len(outcomes),
        **{key: ends[key] for key in ('read', 'refused', *FAILURES)},
        slowest=f'{max(found["seconds"] for found in outcomes):.1f} s',
        peak=f'{max(found["bytes"] for found in outcomes) / 1e6:.0f} MB',
    )


def _seeds():
    folder = Path(tempfile.gettempdir(), 'bireal_fuzz_seeds')
    folder.mkdir(exist_ok=True)
    return folder


def _one(name, number):
    from tests.fuzz.readers import READERS

    reader, folder = READERS[name], Path(tempfile.mkdtemp(prefix='bireal_fuzz_'))
    path = reader.make(random.Random(f'{name} {number}'), _seeds(), folder)
    print(path)
    reader.read(path)


if __name__ == '__main__':
    main(sys.argv[1:])
