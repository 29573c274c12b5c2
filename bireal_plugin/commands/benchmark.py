"""How fast one inference is: Bi-Real on every engine, beside its float twin and torchvision's ResNet.

bireal benchmark 18 50 --rounds 30 --out benchmark
bireal benchmark 18 --shape 1 3 224 224 --shape 1 3 160 608 --engines openvino-f32 openvino-bf16 torch
bireal benchmark configs/bireal_r18_imagenet.py --checkpoint bireal18.pth

Every engine has the same number of threads, and every side its turn in every round, so that a shared machine slows all
of them alike.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import bireal_plugin  # noqa: F401  registers models
from bireal_plugin.errors import InputError
from bireal_plugin.studies.speed.engines import ENGINES, choose_engines
from bireal_plugin.studies.speed.inference import Plan, benchmark, check_shape
from bireal_plugin.studies.speed.machine import machine, pin_threads
from bireal_plugin.studies.speed.networks import SIDES, choose_sides, load_networks
from bireal_plugin.studies.speed.report import Report, section, write_text

DEFAULT_SHAPE = (1, 3, 224, 224)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('model', nargs='+', metavar='DEPTH|CONFIG', help='18, 34, 50, 101, 152 or a config file')
    parser.add_argument('--checkpoint', metavar='FILE', help='trained weights of the one config; random without it')
    parser.add_argument(
        '--stage', metavar='NAME', help="of the config; by default the checkpoint's folder, else the last"
    )
    parser.add_argument(
        '--shape',
        nargs=4,
        type=int,
        action='append',
        metavar=('N', 'C', 'H', 'W'),
        help='of the batch, 1 3 224 224 by default; may be given several times',
    )
    parser.add_argument('--sides', nargs='+', metavar='SIDE', default=list(SIDES), help=', '.join(SIDES))
    parser.add_argument(
        '--engines', nargs='+', metavar='ENGINE', help=f'{", ".join(ENGINES)}; by default all but tflite'
    )
    parser.add_argument('--no-compile', action='store_true', help='leave out torch-compile, which is slow to prepare')
    parser.add_argument('--rounds', type=int, default=30, help='turns of each side')
    parser.add_argument('--repeats', type=int, default=3, help='timed runs in a turn')
    parser.add_argument('--warm-up', type=int, default=3, help='runs before the first round')
    parser.add_argument('--threads', type=int, default=1, help='of every engine')
    parser.add_argument('--out', metavar='DIR', help='also write benchmark.json, benchmark.md and bar charts')


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    plan = Plan(arguments.rounds, arguments.repeats, arguments.warm_up)
    if (arguments.checkpoint or arguments.stage) and len(arguments.model) > 1:
        raise InputError('--checkpoint and --stage belong to one config; give one model')
    pin_threads(arguments.threads)
    engines = choose_engines(arguments.engines, without=['torch-compile'] if arguments.no_compile else [])
    if arguments.engines is None and 'openvino-bf16' not in engines:
        print('openvino-bf16 is left out: this processor has no bf16 instructions')
    sides = choose_sides(arguments.sides)
    shapes = arguments.shape or [DEFAULT_SHAPE]
    if arguments.out:
        import bireal_plugin.studies.speed.chart as chart  # a missing matplotlib is told now, not after the measurement

    every = [load_networks(source, arguments.checkpoint, stage=arguments.stage) for source in arguments.model]
    # Every mistake is found before the first measurement.
    plans = [(networks, [check_shape(shape, networks) for shape in shapes]) for networks in every]
    report = Report(machine(), arguments.threads, plan, ())
    print('\n'.join(report.how()), flush=True)
    for networks, checked in plans:
        if absent := [side for side in sides if side not in networks.sides]:
            print(f'\n{networks.name}: no side {", ".join(absent)}, which would be a network of another size')
        for shape in checked:
            result = benchmark(networks, shape, sides=sides, engines=engines, threads=arguments.threads, plan=plan)
            report = replace(report, results=(*report.results, result))
            print('\n'.join(['', *section(result)]), flush=True)
            if arguments.out:
                folder = Path(arguments.out)
                write_text(folder / 'benchmark.json', report.to_json())
                write_text(folder / 'benchmark.md', report.markdown())
                chart.draw_result(folder, result)
