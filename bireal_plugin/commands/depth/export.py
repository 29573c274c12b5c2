"""Write a trained depth network to files that `bireal depth infer` runs, and verify them.

bireal depth export work_dirs/bireal_r18_street/bn/epoch_1.pth --format packed openvino --verify
bireal depth export CHECKPOINT --real-layers int8 --calibrate photos --verify photos
"""

from __future__ import annotations

import argparse

from bireal_plugin.commands.export import add_order, shipped
from bireal_plugin.depth.inference.shipping import load_depth_network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_order(parser, formats=['packed', 'openvino'], images='8')


def run(arguments: argparse.Namespace) -> int:
    return shipped(arguments, load_depth_network)
