"""Small recordings in KITTI's layout, made of noise: every object is ``SHIFT`` px to the left in the right image."""

import cv2
import numpy as np
from PIL import Image

from bireal_plugin.depth.kitti.raw import Frame

HEIGHT, WIDTH = 96, 320
FOCAL = 185.0
BASELINE = 0.5327
SHIFT = 12
FRAME = Frame('2011_09_26', '0001', 7)


def cam_to_cam(**changed):
    """The lines of calib_cam_to_cam.txt as a dictionary of texts; None leaves an entry out."""
    lines = {
        'calib_time': '09-Jan-2012 13:57:47',
        'S_rect_02': f'{WIDTH} {HEIGHT}',
        'R_rect_00': '1 0 0 0 1 0 0 0 1',
        'P_rect_02': f'{FOCAL} 0 160 {0.06 * FOCAL} 0 {FOCAL} 45 0 0 0 1 0',
        'P_rect_03': f'{FOCAL} 0 160 {(0.06 - BASELINE) * FOCAL} 0 {FOCAL} 45 0 0 0 1 0',
        **changed,
    }
    return ''.join(f'{key}: {text}\n' for key, text in lines.items() if text is not None)


# Forward, left, up to right, down, forward, and 0.27 m from the scanner to the camera.
VELO_TO_CAM = 'calib_time: 15-Mar-2012 11:37:16\nR: 0 -1 0 0 0 -1 1 0 0\nT: 0 -0.08 -0.27\n'


def texture(seed):
    """A picture of blobs, (HEIGHT, WIDTH, 3) uint8."""
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH, 3)).astype(np.float32)
    blobs = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip((blobs - 0.5) * 900 + 128, 0, 255).astype(np.uint8)


def write_date(root, date=FRAME.date, **changed):
    (root / date).mkdir(parents=True, exist_ok=True)
    (root / date / 'calib_cam_to_cam.txt').write_text(cam_to_cam(**changed))
    (root / date / 'calib_velo_to_cam.txt').write_text(VELO_TO_CAM)


def write_frame(root, frame=FRAME, suffix='.png', sides=('image_02', 'image_03'), swapped=False):
    """Write the images of one frame; returns the left and right arrays."""
    left = texture(frame.index)
    right = np.roll(left, -SHIFT, axis=1)
    images = dict(zip(('image_02', 'image_03'), (right, left) if swapped else (left, right), strict=True))
    for side in sides:
        path = root / frame.date / frame.folder / side / 'data' / f'{frame.file}{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[side]).save(path)
    return left, right


def write_scan(root, points, frame=FRAME):
    path = root / frame.date / frame.folder / 'velodyne_points' / 'data' / f'{frame.file}.bin'
    path.parent.mkdir(parents=True, exist_ok=True)
    np.asarray(points, dtype=np.float32).tofile(path)
    return path
