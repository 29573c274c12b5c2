"""Scenes of a renderer in the layout of KITTI raw, so that every command for recordings takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.maps import write_depth_png
from bireal_plugin.depth.street.scene import Scene
from bireal_plugin.errors import InputError

DATE, DRIVE = '2000_01_01', '0001'


def write_recording(root: str | Path, scenes: Sequence[Scene]) -> Path:
    """Write stereo pairs (PNG), calibration and annotated depth below ``root``; return the drive's folder.

    Raises:
        InputError: the recording is there already, the folder cannot be written, or the cameras differ.
    """
    date = Path(root, DATE)
    drive = date / f'{DATE}_drive_{DRIVE}_sync'
    if date.exists():
        raise InputError(f'{date} exists; give another folder, or remove it first')
    if len({(scene.camera.focal, scene.camera.baseline, scene.left.shape) for scene in scenes}) != 1:
        raise InputError('a recording has one camera and at least one pair; these scenes differ in size or camera')
    folders = {
        'left': drive / 'image_02' / 'data',
        'right': drive / 'image_03' / 'data',
        'depth': drive / 'proj_depth' / 'groundtruth' / 'image_02',
    }
    try:
        for folder in folders.values():
            folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f'{date} cannot be made: {error.strerror}') from error
    for i, scene in enumerate(scenes):
        for side, image in (('left', scene.left), ('right', scene.right)):
            Image.fromarray(image).save(folders[side] / f'{i:010d}.png', compress_level=1)
        write_depth_png(folders['depth'] / f'{i:010d}.png', scene.depth_left)
    (date / 'calib_cam_to_cam.txt').write_text(_calibration(scenes[0].camera, scenes[0].left.shape))
    return drive


def _calibration(camera: Camera, shape: tuple[int, ...]) -> str:
    lines = ['calib_time: rendered']
    for index, offset in ((2, 0.0), (3, camera.baseline)):
        projection = [camera.focal, 0, camera.cx, -camera.focal * offset, 0, camera.focal, camera.cy, 0, 0, 0, 1, 0]
        lines.append(f'S_rect_0{index}: {shape[1]:e} {shape[0]:e}')
        lines.append(f'P_rect_0{index}: ' + ' '.join(f'{float(value or 0):.9e}' for value in projection))
    return '\n'.join(lines) + '\n'
