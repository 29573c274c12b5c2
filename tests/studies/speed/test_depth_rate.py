"""Rate of depth maps beside that of their network."""

import re

import pytest
from PIL import Image

from bireal_plugin.depth.inference.video import VideoWriter
from bireal_plugin.depth.street.scene import render_street
from tests.depth.tiny_depth import tiny_depth


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    tiny = tiny_depth(tmp_path_factory.mktemp('tiny'))
    return '--checkpoint', tiny.checkpoint, '--config', tiny.config, '--threads', 1


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Five photographs and a film of three frames."""
    path = tmp_path_factory.mktemp('photos')
    streets = [render_street(seed, (90, 250)).left for seed in range(5)]
    for seed, street in enumerate(streets):
        Image.fromarray(street).save(path / f'{seed}.jpg')
    with VideoWriter(path / 'film.mp4', 10) as writer:
        for street in streets[:3]:
            writer.write(street)
    return path


def test_both_sides_are_told_and_nothing_is_left(run_command, network, folder, tmp_path):
    ended = run_command('depth infer', folder, *network, '--benchmark', '--out', tmp_path / 'out')
    assert ended.status == 0, ended.err
    alone, files, memory = ended.out.splitlines()
    rates = [float(re.search(r': ([\d.]+) images/s, \d+ ms of CPU per image', line)[1]) for line in (alone, files)]
    ratio = float(re.search(r'([\d.]+) of the network alone', files)[1])
    assert ratio == pytest.approx(rates[1] / rates[0], abs=0.01)
    assert 50 < float(re.search(r'(\d+) MiB', memory)[1]) < 20_000
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fails_ends_it(run_command, network, folder, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no picture')
    ended = run_command('depth infer', folder, tmp_path / 'broken.jpg', *network, '--benchmark')
    assert (ended.status, ended.out) == (1, '')
    assert 'broken.jpg cannot be decoded' in ended.err
