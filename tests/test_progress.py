"""Progress in a log: plain lines with rate and remaining time."""

import io
import re

import pytest

from bireal_plugin import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that an item moves on by 4 s."""
    now = [0.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    return now


def work(clock, items):
    for item in progress.progress(items, unit='image'):
        clock[0] += 4
        yield item


def test_a_log_gets_a_line_every_ten_seconds_with_rate_and_remaining_time(clock, capsys):
    assert list(work(clock, range(7))) == list(range(7))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # at 12 and 24 s
    assert re.search(r'3/7 \[00:12<00:16, +4\.00s/image\]', lines[0])
    assert '\r' not in ''.join(lines)


def test_short_work_says_nothing(clock, capsys):
    list(work(clock, range(2)))
    assert capsys.readouterr().err == ''


def test_without_a_total_there_is_no_remaining_time(clock, capsys):
    list(work(clock, iter(range(3))))
    assert re.fullmatch(r'3image \[00:12, +4\.00s/image\]\n', capsys.readouterr().err)


def test_a_terminal_gets_a_bar_and_lines_stand_above_it(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr('sys.stderr', terminal)
    for item in progress.progress([1, 2], unit='image'):
        progress.say(f'item {item}')
    assert '/2' in terminal.getvalue()
    assert capsys.readouterr().out == 'item 1\nitem 2\n'


def test_a_line_and_its_end_are_written_at_once():
    class Recorder(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    written: list[str] = []
    progress.say('a line', file=Recorder())
    assert [text for text in written if text] == ['a line\n']
