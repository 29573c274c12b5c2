"""Small whole files of every kind that a command reads, from which the mutations start."""

import csv
import gzip
import io
import json
import pickle
import shutil
import socket

import av
import cv2
import numpy as np
import torch
from mmengine.registry import MODELS
from PIL import Image

from bireal_plugin.checkpoints.file import Origin
from bireal_plugin.data.cifar10 import IMAGES_PER_FILE, VALUES
from bireal_plugin.export.engines import ENGINES, write
from bireal_plugin.folding.fold import fold
from bireal_plugin.training.config import load_config
from bireal_plugin.training.recipe import stage_config
from bireal_plugin.training.runner import BiRealRunner
from tests.depth.recordings import VELO_TO_CAM, cam_to_cam
from tests.export.forged import CONFIG
from tests.folding.test_fold import trained

SHAPE = (1, 3, 32, 32)
NOT_TRAINED = tuple(f'{part}_{kind}' for part in ('val', 'test') for kind in ('dataloader', 'cfg', 'evaluator'))
IMAGE = '2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000007.png'
LISTS = f"""# a comment
{IMAGE} {IMAGE.replace('_02/', '_03/')}
2011_09_26/2011_09_26_drive_0001_sync 7 l
{IMAGE} None 721.5377
{IMAGE} 2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000007.png
"""
YAML = """
model: {type: BiRealClassifier, num_classes: 10, backbone: &b {type: BiRealResNet, depth: 18, out_indices: [3]}}
teacher: *b
train_dataloader:
  batch_size: 4
  dataset: {type: DigitsDataset, split: train}
optim_wrapper: {type: OptimWrapper, optimizer: {type: SGD, lr: 1.0e-1, momentum: 0.9}}
"""


def write_seeds(folder):
    """Fill ``folder`` with a folder of whole files for each kind; what is there already stays."""
    for write_kind in (_networks, _images, _videos, _texts, _data_sets, _run):
        mark = folder / f'.{write_kind.__name__}'
        if not mark.exists():
            write_kind(folder)
            mark.touch()


def _kind(folder, name):
    (folder / name).mkdir(parents=True, exist_ok=True)
    return folder / name


def _networks(folder):
    model = trained(MODELS.build(CONFIG))
    path = _kind(folder, 'checkpoint') / 'net.pth'
    meta = Origin(dict(model=CONFIG, test_dataloader=dict(dataset=dict(type='DigitsDataset', split='test')))).as_meta()
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    torch.save(dict(state_dict=model.state_dict()), path.with_name('old.pth'), _use_new_zipfile_serialization=False)
    from safetensors.torch import save_file

    save_file({**model.state_dict()}, path.with_name('net.safetensors'))
    small = dict(CONFIG, backbone=dict(CONFIG['backbone'], structure='bireal'))
    folded = fold(trained(MODELS.build(small)))
    texts = dict(preparation=json.dumps(dict(transform=None, size=[32, 32], mean=[0], std=[1], classes=None)))
    for name, engine in ENGINES.items():
        if name == 'c':
            continue
        options = dict(config=small, metadata=texts) if name == 'packed' else dict(metadata=texts)
        write(folded, name, SHAPE, _kind(folder, name) / f'net{engine.suffix}', **options)


def _images(folder):
    place = _kind(folder, 'image')
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    smooth = cv2.resize(noise[:3, :4], (32, 24))
    for suffix in ('png', 'jpg', 'bmp', 'ppm', 'webp', 'tif', 'gif', 'jp2', 'avif', 'tga'):
        Image.fromarray(smooth).save(place / f'a.{suffix}')
    Image.fromarray(smooth).quantize(16).save(place / 'p.png')
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth).save(place / 'e.jpg', exif=exif, progressive=True)
    Image.fromarray(smooth).save(place / 'c.tif', compression='tiff_lzw')
    wide = (smooth[..., 0].astype(np.uint16) * 200).clip(1)
    cv2.imwrite(str(place / 'w.png'), wide)
    (place / 'x.png').write_bytes(_encoded(Image.fromarray(smooth), 'EPS'))
    cv2.imwrite(str(_kind(folder, 'map') / 'a.png'), wide)
    cv2.imwrite(str(folder / 'map' / 'b.tif'), wide)
    np.save(_kind(folder, 'prediction') / 'a.npy', wide.astype(np.float32)[None])
    np.savez(folder / 'prediction' / 'b.npz', wide.astype(np.float64)[None])
    np.savez_compressed(folder / 'prediction' / 'c.npz', wide[None])


def _encoded(image, form):
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def _videos(folder):
    place = _kind(folder, 'video')
    for name, codec in (('a.mp4', 'libx264'), ('b.avi', 'mpeg4'), ('c.mkv', 'libx264'), ('d.webm', 'libvpx-vp9')):
        with av.open(str(place / name), 'w') as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
            for i in range(4):
                frame = np.full((48, 64, 3), 40 * i, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
            container.mux(stream.encode(None))
    (place / 'l.mp4').write_text('ffconcat version 1.0\nfile neighbour.mp4\n')


def _texts(folder):
    (_kind(folder, 'list') / 'a.txt').write_text(LISTS)
    (_kind(folder, 'inputs') / 'a.txt').write_text('# list\na.png\nb.png c.png\n')
    (_kind(folder, 'calibration') / 'calib_cam_to_cam.txt').write_text(cam_to_cam())
    (folder / 'calibration' / 'calib_velo_to_cam.txt').write_text(VELO_TO_CAM)
    np.random.default_rng(0).normal(5, 3, (200, 4)).astype('<f4').tofile(_kind(folder, 'scan') / 'a.bin')
    with (_kind(folder, 'pairs') / 'a.csv').open('w') as file:
        csv.writer(file).writerows([['left', 'right', 'focal', 'baseline'], ['l.png', 'r.png', '700', '0.5']] * 1)
    (_kind(folder, 'config') / 'a.yaml').write_text(YAML)
    (folder / 'config' / 'b.json').write_text(json.dumps(dict(model=CONFIG, a=[1, dict(b=2)], _delete_=False)))
    words = [
        'model.backbone.depth=34',
        'model.x=[1,(2,3)]',
        'work_dir=None',
        'model.y="x"',
        'data_root=/data',
        'stages.bn.a=1',
    ]
    (_kind(folder, 'options') / 'a.txt').write_text('\n'.join(words))
    (_kind(folder, 'names') / 'a.txt').write_text('n01440764 tench, Tinca tinca\nn01443537 goldfish\n')
    row = dict(name='a', epochs=2, top1=0.5, seconds=1.0, checkpoint='epoch_2.pth', digest='0' * 64)
    (_kind(folder, 'result') / 'result.json').write_text(json.dumps(row))
    (folder / 'result' / 'start.json').write_text(json.dumps(dict(stage='a', digest='0' * 64)))
    running = dict(process=10**9, host=socket.gethostname(), began='2026-01-01 00:00:00', started='1', token='x')
    (folder / 'result' / 'running.json').write_text(json.dumps(running))
    (folder / 'result' / 'last_checkpoint').write_text('/nowhere/epoch_2.pth')


def _data_sets(folder):
    rng = np.random.default_rng(0)
    data = np.zeros((IMAGES_PER_FILE, VALUES), np.uint8)
    batch = {b'data': data, b'labels': [0] * IMAGES_PER_FILE, b'batch_label': b'x', b'filenames': [b'a'] * 3}
    place = _kind(folder, 'cifar')
    for protocol in (2, 4):
        (place / f'protocol{protocol}').write_bytes(pickle.dumps(batch, protocol))
    idx = bytes([0, 0, 8, 3]) + np.array([6, 28, 28], '>u4').tobytes() + rng.bytes(6 * 28 * 28)
    (_kind(folder, 'fashion') / 't10k-images-idx3-ubyte.gz').write_bytes(gzip.compress(idx))
    (folder / 'fashion' / 't10k-images-idx3-ubyte').write_bytes(idx)


def small_run(folder, epochs):
    """The config of one stage on a few digits, of two iterations an epoch."""
    config = stage_config(load_config('bireal_r18_digits'), 'clip')
    config.model.backbone.base_channels = 4
    config.train_dataloader.update(batch_size=16, num_workers=0, persistent_workers=False)
    config.train_dataloader.dataset.update(size=16, subset=32)
    config.train_cfg.max_epochs = epochs
    config.update(dict.fromkeys(NOT_TRAINED))
    config.work_dir, config.tensorboard = str(folder), False
    return config


def _run(folder):
    BiRealRunner.from_cfg(small_run(_kind(folder, 'resume') / 'work', 1)).train()
    (folder / 'resume' / 'work' / 'epoch_1.pth').rename(folder / 'resume' / 'epoch_1.pth')
    shutil.rmtree(folder / 'resume' / 'work')
