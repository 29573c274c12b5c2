"""Builds a page that runs 1-bit networks in the visitor's browser, by WebAssembly; any file server can serve it.

bireal export zoo://bireal_r18_imagenette --format c --out made
bireal depth export zoo://bireal_r18_street --format c --out made
python examples/browser/build.py site made/*.c --float bireal_r18_imagenette
python -m http.server --directory site

Needs zig (pip install ziglang).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bireal_plugin.binary import BinaryConv2d
from bireal_plugin.depth.camera import TrainedOn
from bireal_plugin.depth.inference.pictures import SHADES, palette
from bireal_plugin.errors import InputError
from bireal_plugin.export.c.engine import export_c
from bireal_plugin.export.c.file import read_c
from bireal_plugin.folding.fold import fold
from bireal_plugin.studies.speed.networks import load_networks

HERE = Path(__file__).parent
ZIG = [sys.executable, '-m', 'ziglang', 'cc', '-target', 'wasm32-wasi', '-msimd128', '-mexec-model=reactor', '-O3']
FLAGS = ['-std=c11', '-ffp-contract=off', '-Wl,--strip-all']
# What the page calls: pixels as bytes (row, column, channel) in, the network's floats out.
CALLS = """
#include "{name}.h"
static _Alignas({PREFIX}_WORKSPACE_ALIGNMENT) unsigned char workspace[{PREFIX}_WORKSPACE_BYTES];
static uint8_t image[{PREFIX}_INPUT_ROWS * {PREFIX}_INPUT_COLUMNS * {PREFIX}_INPUT_CHANNELS];
static float result[{PREFIX}_OUTPUT_FLOATS];
__attribute__((export_name("pixels"))) uint8_t *pixels(void) {{ return image; }}
__attribute__((export_name("output"))) float *output(void) {{ return result; }}
__attribute__((export_name("run"))) int run(void) {{ return {name}_run_u8(image, result, workspace); }}
"""


def compiled(source: Path, target: Path) -> None:
    """A C file of a network as a WebAssembly module with ``pixels``, ``output`` and ``run``."""
    with tempfile.TemporaryDirectory() as folder:
        calls = Path(folder, 'calls.c')
        calls.write_text(CALLS.format(name=source.stem, PREFIX=source.stem.upper()))
        words = [*ZIG, *FLAGS, f'-I{source.parent}', str(source), str(calls), '-o', str(target)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f'zig cannot compile {source}: {done.stderr.strip().splitlines()[:1]}')


def description(about: dict[str, Any], source: Path) -> dict[str, Any]:
    """What the page must know of a network: the size of its images, how they are made, and what its numbers mean."""
    channels, height, width = about['image']
    if about['images'] != 1 or channels != 3:
        raise InputError(
            f'{source} takes {about["images"]} images of {channels} channels; the page shows it one in RGB'
        )
    told = dict(name=source.stem, height=height, width=width)
    if 'preparation' in about['metadata']:
        preparation = json.loads(about['metadata']['preparation'])
        transform = preparation['transform'] or {}
        if transform.get('type') != 'ShorterSideCenterCrop' or not preparation['classes']:
            raise InputError(f'{source} has no names of its classes, or images that are no centre crops')
        return dict(told, kind='classes', classes=preparation['classes'], shorter_side=transform['shorter_side'])
    trained_on = TrainedOn.of(json.loads(about['metadata']['config']).get('trained_on') or {}, str(source))
    return dict(told, kind='depth', baseline=None if trained_on is None else trained_on.baseline)


def float_network(config: str) -> nn.Module:
    """The network of a config with Clip and real weights, which are random, and BatchNorm folded into convolutions."""
    twin = load_networks(config).sides['twin'].eval()
    for name, conv in list(twin.named_modules()):
        if isinstance(conv, BinaryConv2d):
            geometry = dict(stride=conv.stride, padding=conv.padding, groups=conv.groups, bias=False)
            plain = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, **geometry)
            twin.set_submodule(name, plain)  # first alone, since a block gives a 1-bit convolution up for that only
            twin.set_submodule(name, nn.Sequential(nn.Hardtanh(), plain))
    return fold(twin)


def build(out: Path, sources: Sequence[Path], float_config: str | None = None) -> None:
    """The page in the folder ``out``.

    Args:
        sources: exported .c files of one image.
        float_config: of the first network; its float network, with random weights, is there to be timed beside it.

    Raises:
        InputError: zig cannot compile a file, or the page cannot show it.
    """
    out.mkdir(parents=True, exist_ok=True)
    networks = []
    for source in sources:
        networks.append(description(read_c(source)[0], source))
        compiled(source, out / f'{source.stem}.wasm')
    if float_config is not None:
        first, target = networks[0], out / 'float_network.wasm'
        shape = (1, 3, first['height'], first['width'])
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            source = export_c(
                float_network(float_config),
                Path(folder, 'float_network.c'),
                shape,
                mean=(0.0,) * 3,
                std=(255.0,) * 3,
            )
            compiled(source, target)
        first['float'] = dict(name=target.stem, kilobytes=round(target.stat().st_size / 1000))
    colours = palette('magma')[:SHADES].tolist()
    (out / 'networks.json').write_text(json.dumps(dict(networks=networks, colours=colours)))
    for name in ('index.html', 'page.js'):
        shutil.copy(HERE / name, out)


def main() -> None:
    """Build the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, metavar='FOLDER', help='of the page')
    parser.add_argument('networks', nargs='+', type=Path, metavar='FILE', help='exported .c files of one image')
    shown = 'its float network, with random weights, is there to be timed beside the first one'
    parser.add_argument('--float', metavar='CONFIG', help=shown)
    arguments = parser.parse_args()
    build(arguments.out, arguments.networks, arguments.float)


if __name__ == '__main__':
    try:
        main()
    except (InputError, OSError) as error:
        sys.exit(f'error: {error}')
