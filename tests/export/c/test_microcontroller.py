"""The example for microcontrollers, on both emulated boards: the classes of PyTorch."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from bireal_plugin import export, fold
from tests.export.layer_grid import classifier

EXAMPLE = Path(__file__).parents[3] / 'examples' / 'microcontroller'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A network of random weights in the place of the trained one, and what ``prepare.py`` writes beside it."""
    made = tmp_path_factory.mktemp('board')
    model = classifier(base_channels=16, in_channels=1, stem='cifar').eval()
    images = torch.randn(5, 1, 32, 32)
    with torch.no_grad():
        classes = fold(model, (1, 1, 32, 32))(images).argmax(1)
    export(model, 'c', (1, 1, 32, 32), path=made / 'digits.c')
    images.numpy().astype(np.float32).tofile(made / 'images.bin')
    (made / 'expected.txt').write_text(''.join(f'{each}\n' for each in classes.tolist()))
    return made


@pytest.mark.parametrize('board', ['m4', 'm7'])
def test_a_board_gives_the_classes_of_pytorch(folder, board):
    for program in ('make', 'arm-none-eabi-gcc', 'qemu-system-arm'):
        if shutil.which(program) is None:
            pytest.skip(f'{program} is not installed')
    command = ['make', '-s', '-C', str(EXAMPLE), f'BOARD={board}', f'BUILD={folder}']
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert 'equal to PyTorch: 5 of 5 digits' in done.stdout
    assert 'warning' not in done.stderr.replace('warning: _', '')  # newlib's stubs
