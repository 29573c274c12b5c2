"""Every reader of the package with the files that it reads and the mutations that reach deepest into it."""

import argparse
import hashlib
import io
import json
import random
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from mmengine.runner import Runner
from PIL import Image

from bireal_plugin.checkpoints.file import read_checkpoint, state_dict_of
from bireal_plugin.checkpoints.loading import load_weights
from bireal_plugin.commands.arguments import Overrides
from bireal_plugin.data.cifar10 import read_batch
from bireal_plugin.data.fashion_mnist import read_idx
from bireal_plugin.data.image_file import image_size, read_rgb
from bireal_plugin.data.imagenet import read_class_names
from bireal_plugin.depth.evaluation.cases import Case, CaseList
from bireal_plugin.depth.evaluation.files import from_files
from bireal_plugin.depth.inference.inputs import find_inputs
from bireal_plugin.depth.inference.video import VideoReader
from bireal_plugin.depth.kitti.calibration import read_calibration, stereo_camera, velodyne_to_image
from bireal_plugin.depth.kitti.ground_truth import project, read_velodyne
from bireal_plugin.depth.kitti.own_pairs import pairs_of_table
from bireal_plugin.depth.kitti.splits import list_frames
from bireal_plugin.depth.maps import read_depth_png
from bireal_plugin.export.engines import Session
from bireal_plugin.export.onnx import engine as onnx_engine
from bireal_plugin.export.onnx import qonnx as qonnx_engine
from bireal_plugin.export.onnx.file import write_model
from bireal_plugin.export.openvino import file as openvino_file
from bireal_plugin.export.openvino.engine import openvino
from bireal_plugin.export.packed.inspection import inspect_packed
from bireal_plugin.export.tflite.file import MARKER, signed
from bireal_plugin.models.rewritten_checkpoint import convert_checkpoint
from bireal_plugin.shipping.classification import Preparation
from bireal_plugin.training.config import load_config, override
from bireal_plugin.training.hooks.plain_checkpoint import latest_checkpoint
from bireal_plugin.training.lock import only_run
from bireal_plugin.training.runner import BiRealRunner
from bireal_plugin.training.stages import checkpoint_of, collect_results
from bireal_plugin.training.trained import load_trained
from tests.export.forged import forged, joined, split
from tests.fuzz.mutators import VALUES, WORDS, mutated, mutated_json, mutated_text, mutated_value, tensors
from tests.fuzz.seeds import SHAPE, small_run
from tests.warm import import_all

Mutate = Callable[
    [random.Random, Path, Path], None
]  # changes the file at the first path; the other seeds lie at the second


@dataclass(frozen=True)
class Reader:
    """A reader, and its share of cases.

    Attributes:
        kind: the folder of its seeds, copied for each case.
        read: takes the path of a mutated file. mutations: of them one is drawn. prepare: run once in the server.
    """

    name: str
    kind: str
    share: int
    read: Callable[[Path], object]
    mutations: tuple[Mutate, ...]
    prepare: Callable[[], object] = field(default=lambda: None)

    def make(self, rng, seeds, folder):
        """The path of a mutated copy of a seed in ``folder``; without ``rng`` of one that is whole."""
        shutil.copytree(seeds / self.kind, folder, dirs_exist_ok=True)
        paths = sorted(each for each in folder.iterdir() if self.kind == 'scan' or each.suffix != '.bin')
        if rng is None:
            whole_neighbours(paths[0], seeds / self.kind)
            return paths[0]
        path = rng.choice(paths)
        rng.choice(self.mutations)(rng, path, seeds / self.kind)
        return path


def whole_neighbours(path, seeds):
    """Put what a reader wants beside ``path``: the images of a table, and the network of loose weights."""
    if path.suffix == '.csv':
        for name in ('l.png', 'r.png'):
            shutil.copy(seeds.parent / 'image' / 'a.png', path.with_name(name))
    if seeds.name == 'checkpoint':
        shutil.copy(seeds / 'net.pth', path.with_name('whole.pth'))


def of_bytes(rng, path, seeds):
    other = rng.choice(sorted(seeds.iterdir())).read_bytes()
    path.write_bytes(mutated(rng, path.read_bytes(), other))


def of_text(rng, path, seeds):
    path.write_text(mutated_text(rng, path.read_text()), errors='replace')


def of_json(rng, path, seeds):
    path.write_text(mutated_json(rng, path.read_text()))


# Checkpoints


def of_content(rng, path, seeds):
    """Another value in what a checkpoint holds."""
    content = torch.load(path, weights_only=False)
    torch.save(mutated_value(rng, content, (*VALUES, *tensors() * 2)), path)


def of_pickle(rng, path, seeds):
    """Other bytes of the pickle in it, under a right checksum."""
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        parts = {each.filename: archive.read(each) for each in archive.infolist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in parts.items():
            archive.writestr(name, mutated(rng, content) if name.endswith('.pkl') else content)


def of_any_pickle(rng, path, seeds):
    (of_pickle if zipfile.is_zipfile(path) else of_bytes)(rng, path, seeds)


def loaded(path):
    if path.suffix == '.safetensors':
        model, _ = load_trained(None, path.with_name('whole.pth'))
        load_weights(model, state_dict_of(read_checkpoint(path), str(path)), source=str(path), strict=False)
    else:
        model, _ = load_trained(None, path)
    with torch.no_grad():
        model(torch.zeros(SHAPE))


def of_safetensors(rng, path, seeds):
    whole_neighbours(path, seeds)
    if path.suffix != '.safetensors':
        return of_content(rng, path, seeds) if path.stem == 'net' else of_bytes(rng, path, seeds)
    if rng.random() < 0.4:
        return of_bytes(rng, path, seeds)
    header, data = split(path)
    joined(path, mutated_json(rng, json.dumps(header)), data)


def converted(path):
    convert_checkpoint(str(path), path.with_name('new.pth'))


def resumed(path):
    config = small_run(path.parent / 'work', 2)
    config.resume, config.load_from = True, str(path)
    BiRealRunner.from_cfg(config).train()


# Exported files


def run_session(path):
    with Session(path, threads=1) as session:
        if 'preparation' in session.metadata:
            Preparation.of_metadata(session.metadata, str(path))
        shapes = [
            [size if isinstance(size, int) else 32 for size in shape] for shape in (session.accepted, *session.others)
        ]
        session(
            *(
                np.zeros([1 if isinstance(session.accepted[0], str) else shape[0], *shape[1:]], np.float32)
                for shape in shapes
            )
        )


def packed(path):
    inspect_packed(path)
    run_session(path)


def of_packed(rng, path, seeds):
    """Another value of a text or tensor, under a right checksum."""
    texts = split(path)[0]['__metadata__']
    key = rng.choice(('config', 'metadata', 'real_layers', 'tensors', 'version'))
    if key == 'tensors':

        def change(found):
            name = rng.choice(sorted(found))
            value = found[name]
            found[name] = rng.choice(
                (
                    value[:1],
                    value.double(),
                    value * float('nan') if value.is_floating_point() else value,
                    value.flatten(),
                )
            )
            if rng.random() < 0.5:
                found[rng.choice(sorted(found))] = found.pop(rng.choice(sorted(found)))

        forged(
            path,
            change=lambda found: (
                change(found),
                found.update({key: value.clone().contiguous() for key, value in found.items()}),
            ),
        )
    else:
        how = mutated_json if key in ('config', 'metadata') else mutated_text
        forged(path, **{key: how(rng, texts[key])})


def of_openvino(rng, path, seeds):
    """Another text in the .xml, or other bytes in the .bin, under a right checksum."""
    text, weights = path.read_bytes().decode(), path.with_suffix('.bin').read_bytes()
    if rng.random() < 0.2:
        weights = mutated(rng, weights)
    else:
        for _ in range(rng.choice((1, 1, 2, 4))):
            quoted = list(re.finditer(r'"[^"]{0,60}"', text))
            place = rng.choice(quoted)
            word = rng.choice((*WORDS, *(each[0][1:-1] for each in rng.sample(quoted, 8))))
            text = (
                mutated_text(rng, text)
                if rng.random() < 0.2
                else f'{text[: place.start() + 1]}{word}{text[place.end() - 1 :]}'
            )
    blank = openvino_file.CHECKSUM.sub(
        b'<checksum value="%s" />' % openvino_file.BLANK.encode(), text.encode(errors='replace')
    )
    digest = hashlib.sha256(hashlib.sha256(blank).digest() + hashlib.sha256(weights).digest()).hexdigest()
    path.write_bytes(blank.replace(openvino_file.BLANK.encode(), digest.encode(), 1))
    path.with_suffix('.bin').write_bytes(weights)


def of_onnx(rng, path, seeds):
    """Another node, attribute, tensor or shape, under a right checksum."""
    import onnx

    form = (qonnx_engine if path.suffix == '.qonnx' else onnx_engine).FORMAT
    model = onnx.load(path)
    graph = model.graph
    for _ in range(rng.choice((1, 1, 2, 4))):
        node, tensor = rng.choice(graph.node), rng.choice(graph.initializer)
        value = rng.choice([*graph.input, *graph.output, *graph.value_info])
        match rng.randrange(12):
            case 0:
                node.op_type = rng.choice(
                    ('Conv', 'Unknown', '', 'Loop', 'Resize', 'Gather', 'BipolarQuant', 'Shape', 'Expand')
                )
            case 1:
                node.domain = rng.choice(('os', 'com.microsoft', 'qonnx.custom_op.general', 'a' * 1000))
            case 2 if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(
                    (rng.choice(graph.node).output[0], tensor.name, '')
                )
            case 3:
                del node.input[:]
            case 4 if node.attribute:
                attribute = rng.choice(node.attribute)
                attribute.i = rng.choice((-1, 0, 2**31, 2**62))
                attribute.ints[:] = [rng.choice((-1, 0, 1, 3, 2**31))] * rng.randrange(5)
            case 5:
                tensor.dims[:] = [rng.choice((-1, 0, 1, 3, 8, 2**20, 2**40))] * rng.randrange(5)
            case 6:
                tensor.raw_data = mutated(rng, tensor.raw_data)
            case 7:
                tensor.data_type = rng.randrange(24)
            case 8 if value.type.tensor_type.shape.dim:
                rng.choice(value.type.tensor_type.shape.dim).dim_value = rng.choice((-1, 0, 1, 2**20, 2**40))
            case 9:
                graph.node.remove(node)
            case 10:
                graph.node.append(node)
            case 11:
                model.opset_import[0].version = rng.choice((0, 1, 7, 99))
    del model.metadata_props[:]
    write_model(model, path, file_format=form)


def of_onnx_bytes(rng, path, seeds):
    import onnx

    form = (qonnx_engine if path.suffix == '.qonnx' else onnx_engine).FORMAT
    model = onnx.load(path)
    del model.metadata_props[:]
    body = mutated(rng, model.SerializeToString())
    seal = f'{form} sha256'.encode()
    digest = hashlib.sha256(body).hexdigest().encode()
    entry = b'\x0a' + bytes([len(seal)]) + seal + b'\x12' + bytes([len(digest)]) + digest
    path.write_bytes(body + b'\x72' + bytes([len(entry)]) + entry)


def of_tflite(rng, path, seeds):
    marked = path.read_bytes()
    changed = mutated(rng, marked)
    path.write_bytes(signed(changed, MARKER) if MARKER in changed else changed)


# Data


def images(path):
    read_rgb(path)
    read_rgb(path, exif=False)
    image_size(path)


def predictions(path):
    shape = (24, 32)
    case = Case('a', 0, ('a',), *([lambda: None] * 4))
    listed = CaseList([case], 1, 'truth', 'none')
    from_files(path, 'depth', listed, cropped=None).depth(case, shape)
    one = path.with_suffix('.one')
    one.mkdir()
    shutil.copy(path, one / 'a.npy')
    from_files(one, 'depth', listed).depth(case, shape)


def calibrated(path):
    found = read_calibration(path)
    if 'velo' in path.name:
        velodyne_to_image(read_calibration(path.with_name('calib_cam_to_cam.txt')), found)
    else:
        stereo_camera(found, source=str(path))


def scanned(path):
    project(read_velodyne(path), np.eye(3, 4) * 100, (24, 32))


def filmed(path):
    reader = VideoReader(path)
    for _ in reader:
        pass


def of_pairs(rng, path, seeds):
    whole_neighbours(path, seeds)
    of_text(rng, path, seeds) if rng.random() < 0.8 else of_bytes(rng, path, seeds)


def overridden(path):
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument('--cfg-options', nargs='+', action=Overrides, default={})
    given = parser.parse_args(
        ['--cfg-options', *(word.lstrip('-') for word in path.read_text(errors='replace').split('\n'))]
    )
    config = load_config('bireal_r18_digits')
    for key, value in given.cfg_options.items():
        override(config, {key: value})


def listed_inputs(path):
    _, problems = find_inputs([str(path)])
    assert all('\n' not in problem for problem in problems)


def work_folder(path):
    stage = path.parent / 'a'
    stage.mkdir()
    for name in ('result.json', 'start.json', 'last_checkpoint'):
        shutil.copy(path.with_name(name), stage)
    with only_run(path.parent):
        latest_checkpoint(stage)
        collect_results(path.parent, ['a', 'b'])
        checkpoint_of(path.parent, 'a', wanted_by='b')


def batch(path):
    read_batch(path)


def fashion(path):
    read_idx(path, dimensions=3)


def engines():
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import qonnx.core.modelwrapper
    import qonnx.core.onnx_exec
    import qonnx.transformation.infer_shapes  # noqa: F401
    import tflite  # noqa: F401

    openvino()


def trainings():
    """Leave out what a Runner logs of the machine, for which it starts gcc and git."""
    import_all()
    Runner._log_env = lambda *_: None


TABLE = (
    Reader('packed', 'packed', 50, packed, (of_bytes, of_packed, of_packed)),
    Reader('openvino', 'openvino', 50, run_session, (of_bytes, of_openvino, of_openvino, of_openvino), engines),
    Reader('onnx', 'onnx', 60, run_session, (of_bytes, of_onnx, of_onnx, of_onnx_bytes)),
    Reader('qonnx', 'qonnx', 25, run_session, (of_bytes, of_onnx, of_onnx, of_onnx_bytes)),
    Reader('tflite', 'tflite', 20, run_session, (of_bytes, of_tflite, of_tflite)),
    Reader('checkpoint', 'checkpoint', 60, loaded, (of_safetensors, of_safetensors, of_any_pickle)),
    Reader('convert', 'checkpoint', 30, converted, (of_safetensors, of_bytes, of_any_pickle)),
    Reader('resume', 'resume', 15, resumed, (of_content, of_content, of_content, of_pickle, of_bytes), trainings),
    Reader('image', 'image', 150, images, (of_bytes,), Image.init),
    Reader('depth-map', 'map', 50, read_depth_png, (of_bytes,)),
    Reader('prediction', 'prediction', 70, predictions, (of_bytes,)),
    Reader('video', 'video', 60, filmed, (of_bytes,)),
    Reader('split-list', 'list', 60, list_frames, (of_text, of_text, of_bytes)),
    Reader('calibration', 'calibration', 50, calibrated, (of_text, of_text, of_bytes)),
    Reader('scan', 'scan', 20, scanned, (of_bytes,)),
    Reader('pairs', 'pairs', 40, lambda path: pairs_of_table(path, focal=None, baseline=None), (of_pairs,)),
    Reader('inputs', 'inputs', 20, listed_inputs, (of_text, of_bytes)),
    Reader('config', 'config', 80, lambda path: load_config(str(path)), (of_text, of_text, of_bytes)),
    Reader('options', 'options', 70, overridden, (of_text,)),
    Reader('names', 'names', 10, lambda path: read_class_names(path, ['n01440764']), (of_text, of_bytes)),
    Reader('work-folder', 'result', 40, work_folder, (of_text, of_bytes)),
    Reader('cifar', 'cifar', 15, batch, (of_bytes,)),
    Reader('fashion', 'fashion', 40, fashion, (of_bytes,)),
)
READERS = {reader.name: reader for reader in TABLE}


def shares(total):
    """Cases of each reader among ``total``."""
    whole = sum(reader.share for reader in TABLE)
    return {reader.name: max(1, round(total * reader.share / whole)) for reader in TABLE}
