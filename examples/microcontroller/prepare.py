"""Write what a board needs of a trained digits network: digits.c and digits.h, test images, and PyTorch's classes.

python prepare.py CHECKPOINT FOLDER [--maps bf16]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS

from bireal_plugin import export, fold, load_trained

IMAGES = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='of bireal_r18_digits')
    parser.add_argument('folder', type=Path, help='to write to')
    parser.add_argument('--maps', default='f32', help='precision of feature maps: f32, f16 or bf16')
    arguments = parser.parse_args()
    model, config = load_trained(None, arguments.checkpoint)
    digits = DATASETS.build(config.test_dataloader.dataset)
    batch = default_collate([digits[i] for i in range(IMAGES)])
    images = model.data_preprocessor(batch)['inputs']
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        classes = fold(model, images[:1].shape)(images).argmax(1)
    export(model, 'c', images[:1].shape, path=arguments.folder / 'digits.c', maps=arguments.maps)
    images.numpy().astype(np.float32).tofile(arguments.folder / 'images.bin')
    (arguments.folder / 'expected.txt').write_text(''.join(f'{each}\n' for each in classes.tolist()))


if __name__ == '__main__':
    main()
