"""The wheel, installed outside the checkout, with nothing of the checkout in reach."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.fileio import load
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
NOT_BUILT_FROM = shutil.ignore_patterns(
    *('.git', '.venv', '.*_cache', '.hypothesis', '__pycache__', '*.egg-info'),
    *('tests', 'docs', 'site', 'build', 'work_dirs', 'data'),
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """A folder that the wheel is installed in."""
    folder = tmp_path_factory.mktemp('wheel')
    tree, site = folder / 'tree', folder / 'site'
    shutil.copytree(REPOSITORY, tree, symlinks=True, ignore=NOT_BUILT_FROM)
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '--quiet']
    subprocess.run([*pip, 'wheel', '--no-deps', '--no-build-isolation', '--wheel-dir', folder, tree], check=True)
    (wheel,) = folder.glob('*.whl')
    subprocess.run([*pip, 'install', '--no-deps', '--target', site, wheel], check=True)
    return site


@pytest.fixture
def bireal(site, tmp_path):
    """``bireal('cost', ...)`` starts the installed console command in an empty folder."""

    def start(*arguments):
        environment = {**os.environ, 'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '1'}
        command = [sys.executable, str(site / 'bin' / 'bireal'), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    return start


def test_the_wheel_holds_the_package_and_its_command_alone(site):
    (top_level,) = site.glob('bireal_plugin-*.dist-info/top_level.txt')
    assert top_level.read_text().split() == ['bireal', 'bireal_plugin']
    assert (site / 'bireal_plugin' / 'py.typed').is_file()


def test_the_wheel_holds_every_config(site):
    configs = REPOSITORY / 'configs'
    packed = site / 'bireal_plugin' / '.mim' / 'configs'
    for kind in ('*.py', '*.yml'):
        assert {path.relative_to(packed) for path in packed.rglob(kind)} == {
            path.relative_to(configs) for path in configs.rglob(kind)
        }


def test_the_wheel_has_what_mim_looks_for(site):
    """An index whose files and configs are there, and tools that start."""
    mim = site / 'bireal_plugin' / '.mim'
    index = load(mim / 'model-index.yml')['Import']
    configs = [model['Config'] for file in index for model in load(mim / file)['Models']]
    assert len(index) == len(list(mim.rglob('metafile.yml')))
    assert all((mim / config).is_file() for config in configs)
    command = [sys.executable, mim / 'tools' / 'train.py', '--help']
    ended = subprocess.run(command, cwd=site.parent, env={'PYTHONPATH': str(site)}, capture_output=True, text=True)
    assert f'python {mim / "tools" / "train.py"} CONFIG' in ended.stdout, ended.stderr


def test_the_wheel_holds_the_kernels_in_c(site):
    kernels = Path('bireal_plugin', 'export', 'c', 'kernels')
    assert {path.name for path in (site / kernels).iterdir()} == {
        path.name for path in (REPOSITORY / kernels).iterdir()
    }


def test_the_wheel_holds_the_zoo_and_is_small(site):
    folder = Path('bireal_plugin', 'zoo')
    packed, own = (
        {path.relative_to(root) for path in (root / folder).glob('*/*') if path.suffix in ('.json', '.safetensors')}
        for root in (site, REPOSITORY)
    )
    assert packed == own
    (wheel,) = site.parent.glob('*.whl')
    assert wheel.stat().st_size < 25e6


def test_a_config_is_trained_by_name_outside_the_checkout(bireal, tmp_path):
    short = [
        'model.backbone.base_channels=4',
        'train_dataloader.dataset.subset=64',
        'stages.float.train_cfg.max_epochs=1',
    ]
    ended = bireal('train', 'bireal_r18_digits', '--stage', 'float', '--cfg-options', *short)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / 'work_dirs' / 'bireal_r18_digits' / 'float' / 'epoch_1.pth').is_file()


def test_a_config_is_measured_by_name_outside_the_checkout(bireal):
    ended = bireal('cost', 'bireal_r18_digits')
    assert ended.returncode == 0, ended.stderr
    assert 'layer1.0.conv1' in ended.stdout


def test_a_photograph_is_classified_and_gets_a_depth_map_outside_the_checkout(bireal, tmp_path):
    """By the zoo of the wheel: five of Imagenette's classes with their shares, and a map as high as the photograph."""
    Image.linear_gradient('L').resize((160, 120)).convert('RGB').save(tmp_path / 'photo.png')
    classes, depth = bireal('predict', 'photo.png'), bireal('depth', 'infer', 'photo.png')
    assert classes.returncode == depth.returncode == 0, classes.stderr + depth.stderr
    shares = [float(share) for share in re.findall(r'([\d.]+)%', classes.stdout)]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 100.3  # each is rounded to a tenth
    width, height = Image.open(tmp_path / 'depth_maps' / 'photo_colour.png').size
    assert (width > 160, height) == (True, 120)  # with the bar of its colours beside it


def test_a_network_of_the_wheel_becomes_a_c_file_outside_the_checkout(bireal, tmp_path):
    """By the kernels of the wheel."""
    ended = bireal('export', 'zoo://bireal_r18_digits', '--format', 'c')
    assert ended.returncode == 0, ended.stderr
    assert 'bireal_r18_digits' in (tmp_path / 'export' / 'bireal_r18_digits.c').read_text()
