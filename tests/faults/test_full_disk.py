"""A disk that is full, at half of every file: one sentence, no half file, and the old file is there as it was.

The limit of a process on the size of files stands for the disk; writers in C++ meet it as they meet a full one.
"""

import multiprocessing
import resource
from fractions import Fraction

import numpy as np
import pytest
import torch

from bireal_plugin import BiRealClassifier, InputError
from bireal_plugin.checkpoints.file import write_checkpoint
from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.inference.outputs import Estimate, Style, save
from bireal_plugin.depth.inference.video import VideoWriter
from bireal_plugin.export.engines import ENGINES, files_of, write
from bireal_plugin.export.program import folded
from bireal_plugin.training.stages import write_json

NETWORK = dict(type='BiRealClassifier', num_classes=10, backbone=dict(type='BiRealResNet', depth=18, base_channels=4))
SHAPE = (1, 3, 32, 32)
NOISE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
ESTIMATE = Estimate(NOISE, 1 + NOISE[..., 0].astype(np.float32), Camera(focal=80, width=80, baseline=1, source='test'))


def exported(path):
    """Write a small network for the engine of the suffix."""
    torch.manual_seed(0)
    model = BiRealClassifier(backbone=NETWORK['backbone'], num_classes=10).eval()
    format = next(name for name, engine in ENGINES.items() if engine.suffix == path.suffix)
    options = dict(config=NETWORK) if format == 'packed' else {}
    write(folded(model, SHAPE), format, SHAPE, path, **options)


def film(path):
    with VideoWriter(path, Fraction(25)) as writer:
        for _ in range(3):
            writer.write(NOISE)


def saved(form):
    return lambda path: save(ESTIMATE, form, path, Style())


WRITERS = {
    **{f'net{engine.suffix}': exported for engine in ENGINES.values()},
    'epoch_1.pth': lambda path: write_checkpoint(dict(state_dict=dict(weight=torch.rand(3000))), path),
    'result.json': lambda path: write_json(path, dict(text='x' * 5000)),
    'a_depth.png': saved('png16'),
    'a_depth.npy': saved('npy'),
    'a.ply': saved('ply'),
    'a_colour.png': saved('colour'),
    'a_colour.jpg': saved('colour'),
    'a_colour.mp4': film,
}


def with_limit(write_file, path, limit, told):
    """In a process of its own, which the limit ends with."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write_file(path)
        told.put('written')
    except InputError as error:
        told.put(str(error))


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize('name', WRITERS)
def test_one_sentence_no_half_file_and_the_old_file_as_it_was(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    before = content(tmp_path)
    assert before.keys() == {each.name for each in (files_of(path) if name.startswith('net') else [path])}
    context = multiprocessing.get_context('fork')
    told = context.Queue()
    limit = max(len(each) for each in before.values()) // 2
    child = context.Process(target=with_limit, args=(WRITERS[name], path, limit, told))
    child.start()
    sentence = told.get(timeout=120)
    child.join(60)
    assert child.exitcode == 0
    assert str(path) in sentence
    assert 'cannot be written' in sentence
    assert '\n' not in sentence
    assert content(tmp_path) == before
