"""Kills training, an export and depth maps at random moments, goes on, and compares with what no kill disturbed.

python -m tests.faults.kills --training 50 --export 20 --inference 20
python -m tests.faults.kills --warm --operations --training 1000    # SIGKILL at each thing done to a file, in turn

A kill is SIGINT to the group of processes, as a terminal sends it, SIGTERM or SIGKILL in turn, after a random share of
the time that the undisturbed command takes; the first two must end in one sentence, with status 130 and 143. No process
may be left ten seconds later. The same command with --resume or --skip-existing must then end well, or be killed again
where --chain says so, with no file missing or left over in the end, and every file equal bit for bit but for times.
Prints a line for every run, then a table; status 1 if anything was otherwise.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2

import bireal
from bireal_plugin.text_table import text_table
from tests.faults.jobs import Job, jobs
from tests.warm import import_all

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
TOLD = {signal.SIGINT: (130, 'interrupted'), signal.SIGTERM: (143, 'terminated')}
LIMIT = 300  # s for a command
# What Python tells audit hooks of changes in a folder; of 'open' only those for writing.
CHANGES = ('open', 'os.link', 'os.mkdir', 'os.remove', 'os.rename', 'os.rmdir', 'os.truncate')


@dataclass
class Started:
    """A command in a session of its own, whose stdout and stderr go to one file."""

    process: int
    status: Callable[[], int | None]
    log: Path
    began: float

    def wait(self, limit: float) -> int | None:
        """The status, negative after a signal; None when so many seconds have passed since the begin."""
        while (status := self.status()) is None and time.monotonic() < self.began + limit:
            time.sleep(0.005)
        return status

    def running(self) -> list[int]:
        """Processes of the session that are alive."""
        return [each for each in map(int, filter(str.isdecimal, os.listdir('/proc'))) if self._of_session(each)]

    def _of_session(self, process: int) -> bool:
        try:
            state, *fields = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()
        except OSError:
            return False
        return state not in 'ZX' and int(fields[2]) == self.process


class Operations:
    """Counts the changes that a forked command makes below a folder, and kills it right before one of them.

    Args:
        folder: the command writes into it.
        last: number from 1 of the change before which the process gets SIGKILL; 0 lets it end.
    """

    def __init__(self, folder: Path, last: int = 0) -> None:
        self.folder, self.last = str(folder), last
        self.count = multiprocessing.get_context('fork').Value('i', 0)

    def watch(self) -> None:
        """From now on, in this process alone."""
        self.process = os.getpid()
        sys.addaudithook(self._see)

    def _see(self, event: str, details: tuple[object, ...]) -> None:
        if event not in CHANGES or not str(details[0]).startswith(self.folder) or os.getpid() != self.process:
            return
        if event == 'open' and not (isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        self.count.value += 1
        if self.count.value == self.last:
            os.kill(self.process, signal.SIGKILL)


def start(words: list[str], log: Path, *, warm: bool, operations: Operations | None = None) -> Started:
    """Start ``bireal`` with these words in a new Python, or ``warm`` in a fork of this one, which has the imports."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # may have been ignored, which children inherit
    if warm:
        context = multiprocessing.get_context('fork')
        begun = context.Event()
        fork = context.Process(target=forked, args=(words, log, begun, operations))
        fork.start()
        begun.wait(LIMIT)
        time.sleep(0.01)  # until it minds signals: earlier ones are Python's own
        return Started(int(fork.pid or 0), lambda: fork.exitcode, log, time.monotonic())
    began = time.monotonic()
    command = [sys.executable, '-m', 'bireal', *words]
    with log.open('wb') as file:
        new = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True)
    return Started(new.pid, new.poll, log, began)


def forked(words: list[str], log: Path, begun: Event, operations: Operations | None) -> None:
    """Run ``bireal`` in this process."""
    os.setsid()
    with log.open('wb') as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv[:] = ['bireal', *words]
    begun.set()
    if operations is not None:
        operations.watch()
    bireal.main()


def finished(job: Job, folder: Path, *, warm: bool, goes_on: bool) -> tuple[float, list[str]]:
    """Seconds that a command took to its end, and what was wrong."""
    begin = time.monotonic()
    started = start(job.command(folder, goes_on=goes_on), folder.with_suffix('.log'), warm=warm)
    status = started.wait(LIMIT)
    wrong = [] if status == 0 else [f'status {status}: {started.log.read_text()[-2000:]}']
    return time.monotonic() - begin, wrong


def killed(job: Job, folder: Path, number: int, delay: float, *, warm: bool, goes_on: bool) -> list[str] | None:
    """What was wrong with the end of a command that was killed after a delay; None if it had ended before."""
    started = start(job.command(folder, goes_on=goes_on), folder.with_suffix('.killed.log'), warm=warm)
    if started.wait(delay) is not None:
        return None
    (os.killpg if number == signal.SIGINT else os.kill)(started.process, number)
    status = started.wait(delay + 60)
    said = started.log.read_text()
    if status is None:
        os.killpg(started.process, signal.SIGKILL)
        return [f'was still there 60 s later: {said[-500:]}']
    if status == 0:
        return None
    wrong = []
    if number in TOLD:
        expected, word = TOLD[number]
        if status != expected or said.count(word) != 1 or not said.splitlines()[-1].startswith(word):
            wrong.append(f'status {status} and no sentence: {said[-2000:]}')
        if 'Traceback' in said or 'Exception ignored' in said:
            wrong.append(f'a traceback: {said[-2000:]}')
    deadline = time.monotonic() + 30  # workers look for their parent every 5 s, and take some to end
    while started.running() and time.monotonic() < deadline:
        time.sleep(0.1)
    return wrong + [f'process {each} was left' for each in started.running()]


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """Places at which two folders differ."""
    found = [key for key in {**one, **other} if one.get(key, killed) != other.get(key, killed)]
    return [f'{key} differs: {str(one.get(key))[:80]} became {str(other.get(key))[:80]}' for key in found[:5]]


def counted(name: str, job: Job, kills: int, place: Path, *, seed: int, warm: bool, chain: int) -> Counter[str]:
    """Kill a command so many times and count the outcomes."""
    seconds, wrong = finished(job, place / name, warm=warm, goes_on=False)
    if wrong:
        raise SystemExit(f'{name} does not end undisturbed: {wrong[0]}')
    expected, count = job.left(place / name), Counter(kills=0)
    draw, run = random.Random(f'{seed} {name}'), 0
    while count['kills'] < kills:
        folder, run = place / f'{name}{run}', run + 1
        ends, wrong = [], []
        while len(ends) < min(chain, kills - count['kills']):
            number, delay = SIGNALS[(count['kills'] + len(ends)) % 3], draw.uniform(0, seconds / chain**0.5)
            found = killed(job, folder, number, delay, warm=warm, goes_on=bool(ends))
            if found is None:
                break
            ends.append(f'{signal.Signals(number).name} after {delay:.2f} s')
            wrong += found
        if ends:
            wrong += finished(job, folder, warm=warm, goes_on=True)[1] + differences(expected, job.left(folder))
            count.update(kills=len(ends), equal=0 if wrong else len(ends))
            count.update(each.split()[0] for each in ends)
            print(f'{name} {", ".join(ends)}: {wrong or "equal"}', flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return count


def at_every_operation(name: str, job: Job, kills: int, place: Path) -> Counter[str]:
    """Kill a command before each change of a file, or before so many evenly spread ones, and count the outcomes."""
    whole = Operations(place / name)
    first = start(job.command(place / name), place / f'{name}.log', warm=True, operations=whole)
    if first.wait(LIMIT) != 0:
        raise SystemExit(f'{name} does not end undisturbed: {first.log.read_text()[-2000:]}')
    expected, total, count = job.left(place / name), whole.count.value, Counter(kills=0, operations=whole.count.value)
    for number in range(1, total + 1, max(1, -(-total // kills))):
        folder = place / f'{name}-at-{number}'
        started = start(job.command(folder), place / 'killed.log', warm=True, operations=Operations(folder, number))
        status = started.wait(LIMIT)
        wrong = [] if status == -signal.SIGKILL else [f'status {status}: {started.log.read_text()[-2000:]}']
        wrong += finished(job, folder, warm=True, goes_on=True)[1] + differences(expected, job.left(folder))
        count.update(kills=1, equal=0 if wrong else 1, SIGKILL=1)
        print(f'{name} before change {number} of {total}: {wrong or "equal"}', flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return count


def main() -> None:
    """Count for every command."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell leaves it in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('training', 'export', 'inference'):
        parser.add_argument(f'--{name}', type=int, default=0, metavar='N', help='kills')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of the moments')
    parser.add_argument('--warm', action='store_true', help='processes that have imported everything: quick')
    parser.add_argument('--chain', type=int, default=1, metavar='N', help='kills of one run before it may end')
    parser.add_argument('--operations', action='store_true', help='before changes of files; needs --warm')
    arguments = parser.parse_args()
    if arguments.operations and not arguments.warm:
        parser.error('--operations needs --warm')
    if arguments.warm:
        cv2.setNumThreads(1)  # a fork waits for ever for threads of OpenCV that only its parent has
        import_all()
    rows, how = [], dict(warm=arguments.warm, chain=arguments.chain)
    with tempfile.TemporaryDirectory() as folder:
        for name, job in jobs(Path(folder)).items():
            kills = getattr(arguments, name)
            if kills and arguments.operations:
                rows.append(dict(command=name, **at_every_operation(name, job, kills, Path(folder))))
            elif kills:
                count = counted(name, job, kills, Path(folder), seed=arguments.seed, **how)
                rows.append(dict(command=name, **count))
    print(text_table(rows))
    sys.exit(0 if all(row['equal'] == row['kills'] for row in rows) else 1)


if __name__ == '__main__':
    main()
