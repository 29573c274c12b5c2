"""A page in the browser: classes and depth of photographs, by networks on this machine.

bireal app
bireal app classes.c street.xml --port 8000
"""

from __future__ import annotations

import argparse
import sys
from threading import Event

from bireal_plugin.app.answers import Networks
from bireal_plugin.commands.arguments import positive
from bireal_plugin.progress import say
from bireal_plugin.zoo import PHOTOGRAPHS, STREETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [FILE ...] [options]'
    add = parser.add_argument
    files = 'a classifier, a depth network, or both (default: those of the zoo)'
    add('files', nargs='*', metavar='FILE', help=files)
    host = 'that may be connected to (default: 127.0.0.1, this machine alone; 0.0.0.0: everyone)'
    add('--host', default='127.0.0.1', metavar='NAME', help=host)
    add('--port', type=port, metavar='N', help='of the address (default: a free one from 7860)')
    add('--max-megabytes', type=positive, default=20, metavar='N', help='of a photograph (default: 20)')
    add('--threads', type=positive, metavar='N', help='of the CPU for a network (default: all)')


def port(text: str) -> int:
    """The number of a port."""
    number = positive(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f'must be at most 65535, not {text}')
    return number


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from bireal_plugin.app.page import served

    networks = Networks.of_files(arguments.files or [PHOTOGRAPHS, STREETS], threads=arguments.threads)
    options = dict(host=arguments.host, port=arguments.port, most_megabytes=arguments.max_megabytes)
    with served(networks, **options) as address:
        say(f'the page is at {address} until Ctrl-C', file=sys.stdout)
        Event().wait()
    return 0
