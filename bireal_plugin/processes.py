"""Processes told apart: by host, number and start, since a number alone may belong to a later one."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path


def started(process: int) -> str | None:
    """Start of a process of this host in the kernel's ticks; None if there is none, or it has ended."""
    try:
        fields = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in 'ZX' else fields[19]


def host_mark() -> str:
    """Six characters that tell this host from others, in names of files."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def process_mark() -> str:
    """This process in names of files: host, number and start."""
    return f'{host_mark()}-{os.getpid()}-{started(os.getpid()) or 0}'
