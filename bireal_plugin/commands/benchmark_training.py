"""Time and memory of a training step: float twin, binary network, and the usual mask formulation.

bireal benchmark-training --steps 15 --memory
bireal benchmark-training --compile --precision f32 bf16 --json training.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import torch

from bireal_plugin.commands.arguments import Words, add_existing, add_size, positive, to_write
from bireal_plugin.errors import InputError
from bireal_plugin.models.resnet import DEPTHS
from bireal_plugin.studies.speed.training_step import HEADER, SIDES, Setting, StepPrecision, measure, peak_memory, table
from bireal_plugin.whole_file import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [options]'
    add = parser.add_argument
    depths = f'one of {", ".join(map(str, DEPTHS))} (default: 18)'
    add('--depth', type=int, choices=DEPTHS, default=18, metavar='LAYERS', help=depths)
    add('--batch', type=positive, default=16, metavar='N', help='images in a step (default: 16)')
    add_size(parser, 'of images, px (default: 224 224)', default=[224, 224])
    add('--steps', type=positive, default=15, metavar='N', help='timed steps of each side (default: 15)')
    sides = f'some of {", ".join(SIDES)} (default: all)'
    add('--sides', action=Words, known=SIDES, default=[*SIDES], metavar='SIDE', help=sides)
    older, known = {'fp32': 'f32'}, get_args(StepPrecision)
    precisions = 'f32, bf16 or both (default: f32)'
    add('--precision', action=Words, older=older, known=known, default=['f32'], metavar='NAME', help=precisions)
    add('--compile', action='store_true', help='also time the compiled networks')
    add('--memory', action='store_true', help='also measure peak memory, a process for each side')
    add('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='cpu or cuda (default: cuda if there)')
    add('--threads', type=positive, default=torch.get_num_threads(), metavar='N', help='of the CPU')
    add('--json', type=Path, metavar='FILE', help='also write all numbers to this file')
    add_existing(parser)


def run(arguments: argparse.Namespace) -> None:
    json_files = to_write([arguments.json] if arguments.json else [], arguments, flag='--json')
    if arguments.device == 'cuda' and not torch.cuda.is_available():
        raise InputError('--device cuda: no GPU is visible here; use --device cpu')
    torch.set_num_threads(arguments.threads)
    height, width = arguments.size
    print(
        f'Bi-Real-{arguments.depth}, {arguments.batch} images of {height} x {width}, channels_last, '
        f'torch {torch.__version__}, {arguments.threads} threads, {arguments.steps} steps each, interleaved\n'
    )
    print('\n'.join(HEADER), flush=True)
    records = []
    base = Setting(depth=arguments.depth, batch=arguments.batch, size=(height, width), device=arguments.device)
    for precision in arguments.precision:
        for compiled in [False, True] if arguments.compile else [False]:
            setting = replace(base, precision=precision, compiled=compiled)
            rows = measure(setting, steps=arguments.steps, sides=arguments.sides)
            if arguments.memory and not compiled:
                rows = [replace(row, peak_mib=peak_memory(row.side, setting)) for row in rows]
            print('\n'.join(table(setting, rows)), flush=True)
            records += [{**asdict(setting), **asdict(row)} for row in rows]
    for path in json_files:
        write_whole(path, json.dumps(records, indent=2) + '\n')
