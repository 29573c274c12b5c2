"""Check a download of KITTI's raw recordings: what is there, missing or broken, and what mends it.

bireal depth doctor kitti --need test lidar

Status 1 if something needed is missing or cannot be used.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from bireal_plugin.commands.arguments import Words
from bireal_plugin.depth.kitti.diagnosis import (
    Fault,
    date_faults,
    drive_faults,
    garg_line,
    layout_faults,
    need_faults,
    split_faults,
)
from bireal_plugin.depth.kitti.raw import RawFolder
from bireal_plugin.depth.kitti.splits import GARG_DRIVES
from bireal_plugin.depth.kitti.survey import drive_table, survey_drive

NEEDS = ('train', 'test', 'lidar', 'annotated')


def run(arguments: argparse.Namespace) -> int:
    raw = RawFolder(arguments.root, annotated=arguments.annotated)
    drives = [survey_drive(raw, *drive, deep=arguments.deep) for drive in raw.drives()]
    faults: list[Fault] = [] if drives else layout_faults(raw.root)
    print(drive_table(raw, drives))
    for found in drives:
        faults += drive_faults(raw, found)
    for date in sorted({found.date for found in drives}):
        faults += date_faults(raw, date, [found for found in drives if found.date == date])
    for part in GARG_DRIVES:
        print(garg_line(part, drives))
    for path in arguments.split:
        line, missing = split_faults(raw, path)
        print(line)
        faults += missing
    for need in arguments.need:
        faults += need_faults(raw, need, drives)
    return print_faults(faults)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s ROOT [options]'
    add = parser.add_argument
    add('root', type=Path, metavar='ROOT', help='folder that holds dates like 2011_09_26')
    add('--split', type=Path, nargs='+', default=[], metavar='FILE', help='lists that must be there')
    needs = f"some of {', '.join(NEEDS)}: Garg's drives, laser scans, annotated depth"
    add('--need', action=Words, known=NEEDS, default=[], metavar='NAME', help=needs)
    add('--annotated', type=Path, metavar='DIR', help='annotated depth maps apart from ROOT')
    add('--deep', action='store_true', help='decode every file; by default headers and ends are read')


def print_faults(faults: Iterable[Fault]) -> int:
    """Problems, notes and commands; 1 if there is a problem."""
    faults = list(faults)
    for fault in faults:
        print(f'{"PROBLEM" if fault.needed else "note"}: {fault.text}')
    commands = list(dict.fromkeys(command for fault in faults for command in fault.commands))
    if commands:
        print('\nTo make it usable:')
        print('\n'.join(f'  {command}' for command in commands))
    problems = sum(fault.needed for fault in faults)
    print(f'\n{problems} problems' if problems else '\nusable')
    return int(problems > 0)
