"""List the layers, bits and bytes of a packed file.

bireal inspect net.safetensors
bireal inspect net.safetensors --json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

import bireal_plugin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s FILE [--json]'
    parser.add_argument('file', metavar='FILE', help='packed file (.safetensors)')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')


def run(arguments: argparse.Namespace) -> None:
    report = bireal_plugin.inspect(arguments.file)
    if arguments.json:
        totals = dict(float32_bytes=report.float32_bytes, compression=report.compression)
        print(json.dumps({**asdict(report), **totals}, indent=2))
    else:
        print(report)
