"""One run per work directory: a second one is refused while the first is alive."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process

from bireal_plugin.errors import InputError
from bireal_plugin.processes import started
from bireal_plugin.whole_file import remove_left, write_whole

NAME = 'running.json'
BEAT, SILENT = 15.0, 120.0  # seconds between two signs of life, and without one until a run elsewhere counts as gone


@contextmanager
def only_run(work_dir: str | Path) -> Iterator[None]:
    """Hold ``work_dir`` for this run, all its processes together, while the block runs.

    A file in it names process and host. It outlives a run that is killed, and is taken over then: on the same host when
    no such process is alive, on another host when the file has not been touched for ``SILENT`` seconds.

    Raises:
        InputError: another run holds it.
    """
    path, mine, told = Path(work_dir, NAME), _this_process(), ['']
    if is_main_process():
        path.parent.mkdir(parents=True, exist_ok=True)
        told = [_take(path, mine)]
    broadcast_object_list(told)
    if told[0]:
        raise InputError(told[0])
    ended = threading.Event()
    try:
        for folder in (path.parent, *path.parent.glob('*/')) if is_main_process() else ():
            remove_left(folder)
        if is_main_process():
            threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
        yield
    finally:
        ended.set()
        if is_main_process() and _read(path) == mine:
            path.unlink(missing_ok=True)


def _take(path: Path, mine: dict[str, Any]) -> str:
    """Write the file unless another run holds it; the sentence about that run, else an empty one."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # or two that find a stale file would both replace it
        other = _read(path)
        if other is not None and _alive(other, path):
            return (
                f'{path.parent} is in use by process {other.get("process")} on {other.get("host")}, a run since '
                f'{other.get("began")}: let it end or stop it, or take another --work-dir; if it is gone, delete {path}'
            )
        if other is not None:
            print(f'{path}: the run of process {other.get("process")} on {other.get("host")} is gone; this one goes on')
        write_whole(path, json.dumps(mine))
        return ''
    finally:
        os.close(folder)


def _this_process() -> dict[str, Any]:
    process = os.getpid()
    began = time.strftime('%Y-%m-%d %H:%M:%S')
    host, token = socket.gethostname(), secrets.token_hex(8)
    return dict(process=process, host=host, began=began, started=started(process), token=token)


def _read(path: Path) -> dict[str, Any] | None:
    """The content of the file; an empty one of a file that is damaged, None where there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}


def _alive(other: dict[str, Any], path: Path) -> bool:
    process = other.get('process')
    if other.get('host') == socket.gethostname() and isinstance(process, int):
        return started(process) is not None and started(process) == other.get('started')
    mark = path.with_name(f'.{NAME}.{secrets.token_hex(4)}')  # by the clock of the file system, not of this host
    mark.touch()
    try:
        return mark.stat().st_mtime - path.stat().st_mtime < SILENT
    finally:
        mark.unlink()


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        try:
            os.utime(path)
        except OSError:  # deleted by someone, or the disk is away for a moment
            continue
