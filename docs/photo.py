"""Draws the README's picture: a photograph, the depth that a network sees in it, and one line of figures.

python docs/photo.py leuvenA.jpg net.xml --caption 'Bi-Real-18: 1.0 MB, 2.0 ms'
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bireal_plugin.data.image_file import read_rgb
from bireal_plugin.depth import Predictor


def picture(photo: np.ndarray, disparity: np.ndarray, caption: str) -> Image.Image:
    """Photograph and disparity ``(H, W)`` side by side, with a line of text below."""
    low, high = np.percentile(disparity, [2, 98])
    shades = matplotlib.colormaps['magma'](np.clip((disparity - low) / (high - low), 0, 1))[..., :3]
    sides = np.hstack([photo, np.full((len(photo), 8, 3), 255, np.uint8), (255 * shades).astype(np.uint8)])
    page = Image.new('RGB', (sides.shape[1], sides.shape[0] + 34), 'white')
    page.paste(Image.fromarray(sides))
    ImageDraw.Draw(page).text((4, len(photo) + 8), caption, 'black', ImageFont.load_default(17))
    return page


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photo', type=Path)
    parser.add_argument('network', type=Path, help='trained depth network')
    parser.add_argument('--rows', nargs=2, type=int, default=[210, 470], help='part of the photograph, in px')
    parser.add_argument('--caption', default='')
    parser.add_argument('--out', type=Path, default=Path(__file__).with_name('depth_photo.png'))
    arguments = parser.parse_args()
    image = np.asarray(read_rgb(arguments.photo))[slice(*arguments.rows)]
    picture(image, Predictor(arguments.network)(image), arguments.caption).save(arguments.out, optimize=True)
