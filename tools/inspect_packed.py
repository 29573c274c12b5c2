"""What is in a packed file (.safetensors): its layers, bits and bytes.

python tools/inspect_packed.py net.safetensors
python tools/inspect_packed.py net.safetensors --json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

import bireal_plugin
from bireal_plugin.command_line import run_command


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('file', metavar='FILE', help='packed file')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    report = bireal_plugin.inspect(arguments.file)
    if arguments.json:
        totals = dict(float32_bytes=report.float32_bytes, compression=report.compression)
        print(json.dumps({**asdict(report), **totals}, indent=2))
    else:
        print(report)


if __name__ == '__main__':
    run_command(main)
