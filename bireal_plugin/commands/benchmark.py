"""Time one inference on every engine: Bi-Real, its float twin and torchvision's ResNet.

bireal benchmark 18 50 --rounds 30 --out benchmark
bireal benchmark 18 --size 224 224 --size 160 608 --engines openvino-f32 openvino-bf16 torch
bireal benchmark bireal_r18_imagenet --checkpoint bireal18.pth

Each side has its turn on each engine in every round: a shared machine slows all of them alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bireal_plugin.commands.arguments import Renamed, Words, add_existing, add_size, positive, to_write
from bireal_plugin.errors import InputError
from bireal_plugin.studies.speed.engines import ISAS, choose_engines, limit_isa, machine, pin_threads
from bireal_plugin.studies.speed.inference import Repetitions, Shape, benchmark, check_shape
from bireal_plugin.studies.speed.networks import SIDES, Networks, choose_sides, load_networks
from bireal_plugin.studies.speed.report import Report, section
from bireal_plugin.whole_file import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s MODEL [MODEL ...] [options]'
    add = parser.add_argument
    add(
        'model', nargs='+', metavar='MODEL', help='18, 34, 50, 101, 152, of CIFAR 20, 32, 56, or a config, file or name'
    )
    add('--checkpoint', metavar='FILE', help='trained weights of the one config (default: random)')
    add('--stage', metavar='NAME', help="of a recipe's config (default: the checkpoint's own, or the last)")
    add('--allow-other-network', action='store_true', help='take weights that were trained as another network')
    sizes = 'of images, px; may be given several times (default: as trained or tested; a depth 224 224, of CIFAR 32 32)'
    add_size(parser, sizes, action='append')
    add('--batch', type=positive, default=1, metavar='N', help='images in a run (default: 1)')
    add('--shape', dest='size', action=Renamed, append=True, now='--size H W, and --batch N', nargs=4, type=positive)
    add('--sides', action=Words, default=[*SIDES], metavar='SIDE', help=f'some of {", ".join(SIDES)} (default: all)')
    engines = (
        'c-f32, c-f16, c-bf16, c-int8, openvino-f32, openvino-bf16, openvino-int8, onnxruntime, torch, torch-c,'
        ' torch-channels-last, torch-compile, tflite (default: all but c-f16, c-bf16 and tflite)'
    )
    add('--engines', action=Words, metavar='ENGINE', help=engines)
    add('--no-compile', action='store_true', help='leave out torch-compile, which is slow to prepare')
    add('--rounds', type=positive, default=30, metavar='N', help='turns of each side (default: 30)')
    add('--repeats', type=positive, default=3, metavar='N', help='timed runs in a turn (default: 3)')
    add('--warm-up', type=int, default=3, metavar='N', help='runs before the first round (default: 3)')
    add('--threads', type=positive, default=1, metavar='N', help='of every engine (default: 1)')
    add('--isa', choices=[*ISAS], help='hold every engine to these instructions (default: all that the processor has)')
    add('--out', type=Path, metavar='DIR', help='write benchmark.json, benchmark.md and bar charts there')
    add_existing(parser)


def run(arguments: argparse.Namespace) -> None:
    plan = Repetitions(arguments.rounds, arguments.repeats, arguments.warm_up)
    if (arguments.checkpoint or arguments.stage) and len(arguments.model) > 1:
        raise InputError('--checkpoint and --stage belong to one config; give one model')
    if arguments.isa:
        limit_isa(arguments.isa)
    pin_threads(arguments.threads)
    engines = choose_engines(arguments.engines, without=['torch-compile'] if arguments.no_compile else [])
    if arguments.engines is None and 'openvino-bf16' not in engines:
        print('openvino-bf16 is left out: this processor has no bf16 instructions')
    sides = choose_sides(arguments.sides)
    if arguments.out:
        files = [arguments.out / name for name in ('benchmark.json', 'benchmark.md')]
        if not to_write(files, arguments):
            print(f'{arguments.out} has a benchmark already, which --skip-existing keeps')
            return
        arguments.out.mkdir(parents=True, exist_ok=True)
        import bireal_plugin.studies.speed.chart as chart  # a missing matplotlib is told now, not after the measurement

    choices = dict(stage=arguments.stage, allow_other_network=arguments.allow_other_network)
    sized = arguments.size is None
    every = [load_networks(source, arguments.checkpoint, **choices, sized=sized) for source in arguments.model]
    # Every mistake is found before the first measurement.
    plans = []
    for networks in every:
        sizes = arguments.size or [networks.size or (224, 224)]
        plans.append((networks, [_shape(size, arguments.batch, networks) for size in sizes]))
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
                for path, text in zip(files, (report.to_json(), report.markdown()), strict=True):
                    write_whole(path, text)
                chart.draw_result(arguments.out, result)


def _shape(size: Sequence[int], batch: int, networks: Networks) -> Shape:
    """``(N, C, H, W)`` of ``--size`` and ``--batch``, or of a whole shape."""
    return check_shape(size if len(size) == 4 else (batch, networks.in_channels, *size), networks)
