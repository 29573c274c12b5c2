"""Reading files in children with limits on time and memory, in which nothing may be started and nobody called.

``Cage`` starts a server, which imports what readers need and forks a child for every case. ``python -m tests.fuzz.cage
FOLDER`` is that server: a line ``READER NUMBER`` in, a line of JSON out.
"""

import json
import multiprocessing
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

FAILURES = ('error', 'signal', 'hang', 'memory', 'executed')
SECONDS, IDLE = 20, 120  # of the processor for a case, and of the clock, since other work may slow a machine down
BYTES = 2**30
STARTS = (
    'os.system',
    'os.exec',
    'os.posix_spawn',
    'os.spawn',
    'pty.spawn',
    'subprocess.Popen',
    'os.fork',
    'os.forkpty',
)
CALLS = ('socket.connect', 'socket.getaddrinfo', 'urllib.Request', 'ftplib.connect', 'smtplib.connect')
BATCH = 25  # cases for a child; a fork of all that is imported takes longer than most cases


class Cage:
    """``cage.attempts(reader, first, count)`` gives dict(outcome, seconds, bytes, text) of so many cases, one by one.

    Outcomes: 'read', 'refused' (InputError), and of failures 'error', 'signal', 'hang', 'memory', 'executed'.
    """

    def __init__(self, folder):
        command = [sys.executable, '-m', 'tests.fuzz.cage', str(folder)]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(Path(__file__).parents[2])}
        streams = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.process = subprocess.Popen(command, **streams)
        assert self.process.stdout.readline() == 'ready\n'

    def attempts(self, reader, first, count):
        self.process.stdin.write(f'{reader} {first} {count}\n')
        self.process.stdin.flush()
        for _ in range(count):
            yield json.loads(self.process.stdout.readline())

    def read(self, reader, path):
        """The outcome for the file at ``path`` as it is."""
        (told,) = self.attempts(reader, path, 1)
        return told

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def serve(seeds, answers):
    from tests.fuzz.readers import READERS
    from tests.fuzz.seeds import write_seeds

    for reader in READERS.values():
        reader.prepare()
    # In a process of its own: no child that is forked from one with threads of autograd can train.
    seeding = multiprocessing.get_context('fork').Process(target=write_seeds, args=[seeds])
    seeding.start()
    seeding.join()
    assert seeding.exitcode == 0
    print('ready', file=answers, flush=True)
    for line in sys.stdin:
        name, first, count = line.split()
        waiting = [first] if first.startswith('/') else list(range(int(first), int(first) + int(count)))
        while waiting:
            for found in attempts(READERS[name], waiting[:BATCH], seeds):
                print(json.dumps(found), file=answers, flush=True)
                del waiting[0]


def attempts(reader, numbers, seeds):
    """Cases one after another in one child, up to the first that it does not survive."""
    folder = Path(tempfile.mkdtemp(prefix='bireal_fuzz_'))
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        try:
            _child(reader, numbers, seeds, folder, theirs)
        finally:
            os._exit(1)
    os.close(theirs)
    with open(ours, 'rb', buffering=0) as told:  # or select would not see what waits in a buffer
        for number in numbers:
            start, spent, line = time.monotonic(), _cpu(child), b''
            while not line.endswith(b'\n') and _cpu(child) - spent < SECONDS and time.monotonic() - start < IDLE:
                if select.select([told], [], [], 0.5)[0]:
                    if not (part := told.readline()):
                        break
                    line += part
            over = time.monotonic() - start
            if line.endswith(b'\n'):
                found = json.loads(line)
            else:
                hangs = over >= IDLE or _cpu(child) - spent >= SECONDS
                found = dict(bytes=0, text='', seconds=over, outcome='hang' if hangs else 'signal')
                if hangs:
                    os.killpg(child, signal.SIGKILL)
            if (folder / Path(str(number)).name / 'ran').exists():
                found |= dict(outcome='executed', text='the file "ran" was made')
            if found['outcome'] in ('signal', 'hang'):
                found['text'] = f'wait status {os.waitpid(child, 0)[1]}'
            yield found
            if found['outcome'] not in ('read', 'refused', 'executed'):
                break
        if found['outcome'] not in ('signal', 'hang'):
            os.waitpid(child, 0)
    shutil.rmtree(folder)


def _child(reader, numbers, seeds, folder, pipe):
    os.setpgid(0, 0)
    with open(os.devnull, 'r+') as nothing:
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)
    limit = _status('VmData') + BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    executed = []

    def audit(event, arguments):
        if event in CALLS or (event in STARTS and not (event == 'subprocess.Popen' and _own(arguments[1]))):
            executed.append(f'{event} {arguments}'[:300])

    sys.addaudithook(audit)
    for number in numbers:
        executed.clear()
        place = folder / Path(str(number)).name
        place.mkdir()
        os.chdir(place)
        if isinstance(number, str):
            path = Path(number)
        else:
            rng = random.Random(f'{reader.name} {number}') if number >= 0 else None  # of -1 the whole file
            path = reader.make(rng, seeds, place)
        Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
        before, start = _status('VmRSS'), time.process_time()
        outcome, text = _outcome(reader, path)
        found = dict(
            seconds=time.process_time() - start, bytes=_status('VmHWM') - before, outcome=outcome, text=text[-6000:]
        )
        if found['bytes'] > BYTES:
            found['outcome'] = 'memory'
        if executed:
            found |= dict(outcome='executed', text='; '.join(executed))
        os.write(pipe, json.dumps(found).encode() + b'\n')
        if outcome not in ('read', 'refused'):
            break
    os._exit(0)


def _outcome(reader, path):
    from bireal_plugin.errors import InputError

    try:
        reader.read(path)
    except InputError as error:
        text = str(error)
        return 'refused' if '\n' not in text.strip() and len(text) < 4100 else 'error', f'sentence: {text}'
    except MemoryError:
        return 'memory', traceback.format_exc()
    except BaseException:
        return 'error', traceback.format_exc()
    return 'read', ''


def _own(command):
    """Whether a command is one that no file names: the compiler of our C, git, and what runs .tflite files."""
    words = [str(word) for word in command]
    compiled = words[:1] == ['cc']
    return compiled or words[:2] == ['git', 'rev-parse'] or any(word.endswith('larq_worker.py') for word in words)


def _cpu(process):
    """Seconds that a process has spent on the processor."""
    fields = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _status(key):
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(f'{key}:'))
    return int(line.split()[1]) * 1024


if __name__ == '__main__':
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what libraries print is no answer
    serve(Path(sys.argv[1]), answers)
