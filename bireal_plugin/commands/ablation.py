"""Train the grid of Table 1: structure x initialisation x weight rule x surrogate; or variants.

bireal ablation ablation_fashion_mnist --seeds 3 --jobs 2
bireal ablation bireal_r18_cifar10 --cells 'bireal-*' '*-clip-*-ApproxSign'
bireal ablation two_step_digits --seeds 2

Started again, it continues. The work directory gets ablation.md, .csv, .png and .svg,
and order.md, which compares the order of the cells with the paper's. A config that lists variants,
such as deeper_digits, surrogate_order_digits and two_step_digits, is trained in each: variants.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config

from bireal_plugin.commands.arguments import Words, add_overrides
from bireal_plugin.errors import InputError
from bireal_plugin.studies.ablation.grid import choose_cells, plan_units, stage_roles
from bireal_plugin.studies.ablation.report import collect_real_rows, collect_rows, csv_text, order_text, table_text
from bireal_plugin.studies.ablation.schedule import keep_settings, run_grid
from bireal_plugin.studies.ablation.variants import check_variants, run_variants, variants_text
from bireal_plugin.training.config import load_config, work_dir_of
from bireal_plugin.training.recipe import check_stages
from bireal_plugin.whole_file import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s CONFIG [options]'
    add = parser.add_argument
    add('config', metavar='CONFIG', help='config with stages and a BiRealResNet, file or name')
    add('--work-dir', metavar='DIR', help='for all runs (default: work_dirs/<config name>)')
    add('--seeds', type=int, default=3, metavar='N', help='seeds 0 to N-1 (default: 3)')
    cells = "only cells that match, such as 'bireal-*-STE' (default: all 24)"
    add('--cells', action=Words, metavar='PATTERN', help=cells)
    add('--with-bn', action='store_true', help='end every cell with the stage that absorbs scales')
    add('--jobs', type=int, default=1, metavar='N', help='number of stages trained at once (default: 1)')
    add('--resume', action='store_true', help='no effect: it always continues')
    add_overrides(parser)


def run(arguments: argparse.Namespace) -> None:
    from bireal_plugin.studies.ablation.figure import draw_ablation  # here, so that lack of matplotlib is a sentence

    if arguments.seeds < 1 or arguments.jobs < 1:
        raise InputError('--seeds and --jobs must be 1 or more')
    config = load_config(arguments.config, arguments.cfg_options)
    work_dir = Path(work_dir_of(config, arguments.work_dir))
    if config.get('variants'):
        if arguments.cells or arguments.with_bn or arguments.jobs > 1:
            raise InputError(f'{config.filename} lists variants; --cells, --with-bn and --jobs are of the grid')
        _run_variants(config, work_dir, range(arguments.seeds), title=Path(arguments.config).stem)
        return
    roles = stage_roles(config)
    check_stages(config)
    keep_settings(config, work_dir)
    seeds = range(arguments.seeds)
    units = plan_units(roles, choose_cells(arguments.cells), seeds, with_norm=arguments.with_bn)
    title = Path(arguments.config).name

    def write_report(*_: object) -> None:
        rows = collect_rows(work_dir, units)
        real_rows = collect_real_rows(work_dir, units, roles.start)
        write_whole(work_dir / 'ablation.md', table_text(rows, real_rows, title=title))
        write_whole(work_dir / 'ablation.csv', csv_text(rows))
        write_whole(work_dir / 'order.md', order_text(rows, title=title))

    run_grid(config, roles, units, work_dir, jobs=arguments.jobs, ended=write_report)
    write_report()
    draw_ablation(collect_rows(work_dir, units), work_dir / 'ablation', title=title)
    pages = [(work_dir / name).read_text() for name in ('ablation.md', 'order.md')]
    print('\n', *pages, f'written to {work_dir}: ablation.{{md,csv,png,svg}}, order.md', sep='\n')


def _run_variants(config: Config, work_dir: Path, seeds: range, *, title: str) -> None:
    check_variants(config)
    keep_settings(config, work_dir)
    page = work_dir / 'variants.md'
    run_variants(
        config, seeds, work_dir, ended=lambda results: write_whole(page, variants_text(config, results, title=title))
    )
    print(f'\n{page.read_text()}\nwritten to {page}')
