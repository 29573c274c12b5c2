"""Time and memory of a training step: float twin, binary network, and the usual mask formulation.

bireal benchmark-training --steps 15 --memory
bireal benchmark-training --compile --precision fp32 bf16 --json training.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from bireal_plugin.errors import InputError
from bireal_plugin.studies.speed.training_step import HEADER, SIDES, Setting, measure, peak_memory, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('--depth', type=int, default=18)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--steps', type=int, default=15, help='timed steps of each side')
    parser.add_argument('--sides', nargs='+', choices=SIDES, default=list(SIDES))
    parser.add_argument('--precision', nargs='+', choices=['fp32', 'bf16'], default=['fp32'])
    parser.add_argument('--compile', action='store_true', help='also time the compiled networks')
    parser.add_argument('--memory', action='store_true', help='also measure peak memory, one process per side')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--json', metavar='FILE', help='also write all numbers to this file')


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    if min(arguments.steps, arguments.batch, arguments.size, arguments.threads) < 1:
        raise InputError('--steps, --batch, --size and --threads must be at least 1')
    if arguments.device == 'cuda' and not torch.cuda.is_available():
        raise InputError('--device cuda: no GPU is visible here; use --device cpu')
    torch.set_num_threads(arguments.threads)
    print(
        f'Bi-Real-{arguments.depth}, {arguments.batch} x {arguments.size}^2, channels_last, '
        f'torch {torch.__version__}, {arguments.threads} threads, {arguments.steps} steps each, interleaved\n'
    )
    print('\n'.join(HEADER), flush=True)
    records = []
    base = Setting(depth=arguments.depth, batch=arguments.batch, size=arguments.size, device=arguments.device)
    for precision in arguments.precision:
        for compiled in [False, True] if arguments.compile else [False]:
            setting = replace(base, precision=precision, compiled=compiled)
            rows = measure(setting, steps=arguments.steps, sides=arguments.sides)
            if arguments.memory and not compiled:
                rows = [replace(row, peak_mib=peak_memory(row.side, setting)) for row in rows]
            print('\n'.join(table(setting, rows)), flush=True)
            records += [{**asdict(setting), **asdict(row)} for row in rows]
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(records, indent=2) + '\n')
