"""Point clouds: geometry against formulas, files against a reader of their own."""

import re

import numpy as np
import pytest

from bireal_plugin.depth.camera import Camera
from bireal_plugin.depth.inference.outputs import back_projected, write_point_cloud
from bireal_plugin.depth.street.scene import render_street
from bireal_plugin.errors import InputError

CAMERA = Camera(100.0, 120, 0.5, cx=60.0, cy=30.0, source='test')
COLOURS = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)


def opened(path):
    """Points ``(N, 3)`` and colours ``(N, 3)``, read as the header says."""
    content = path.read_bytes()
    header, _, body = content.partition(b'end_header\n')
    lines = header.decode('ascii').splitlines()
    assert lines[:2] == ['ply', 'format binary_little_endian 1.0']
    sizes = {'float': '<f4', 'uchar': 'u1'}
    properties = [line.split()[1:] for line in lines if line.startswith('property')]
    vertices = np.frombuffer(body, np.dtype([(name, sizes[kind]) for kind, name in properties]))
    assert len(vertices) == int(re.search(r'element vertex (\d+)', header.decode())[1])
    return tuple(np.stack([vertices[name] for name in names], 1) for names in ('xyz', ('red', 'green', 'blue')))


def ground_depth(height, shape=(80, 120)):
    """Depth of a plane ``height`` m below a level camera: z = f h / (v - cy); infinite above the horizon."""
    rows = np.arange(shape[0], dtype=np.float64)
    with np.errstate(divide='ignore'):
        depth = np.where(rows > CAMERA.cy, CAMERA.focal * height / (rows - CAMERA.cy), np.inf)
    return np.repeat(depth[:, None], shape[1], 1).astype(np.float32)


def test_a_level_ground_has_one_height(tmp_path):
    path = tmp_path / 'a.ply'
    write_point_cloud(path, ground_depth(1.65), COLOURS, CAMERA)
    points, _ = opened(path)
    np.testing.assert_allclose(points[:, 1], 1.65, rtol=1e-5)
    assert points[:, 2].max() <= 80


def test_points_project_to_the_pixels_they_came_from():
    depth = np.random.default_rng(0).uniform(2, 60, (80, 120)).astype(np.float32)
    x, y, z = np.moveaxis(back_projected(depth, CAMERA), -1, 0)
    v, u = np.mgrid[:80, :120]
    np.testing.assert_allclose(CAMERA.focal * x / z + CAMERA.cx, u, atol=1e-3)
    np.testing.assert_allclose(CAMERA.focal * y / z + CAMERA.cy, v, atol=1e-3)
    np.testing.assert_array_equal(z, depth)


def test_an_image_resized_to_half_gives_the_same_space():
    wide, half = (back_projected(np.full(shape, 10, np.float32), CAMERA) for shape in ((80, 120), (40, 60)))
    # A pixel of the half stands for the centre of four.
    centres = (wide[::2, ::2] + wide[1::2, 1::2]) / 2
    np.testing.assert_allclose(half, centres, atol=1e-4)


def test_without_a_principal_point_it_is_the_centre():
    camera = Camera(100.0, 121, 0.5, cx=None, cy=None, source='test')
    points = back_projected(np.full((81, 121), 10, np.float32), camera)
    np.testing.assert_allclose(points[40, 60], [0, 0, 10], atol=1e-6)


def test_points_have_the_colours_of_their_pixels(tmp_path):
    depth = np.full((80, 120), np.inf, np.float32)
    depth[3, 5], depth[70, 100], depth[10, 10], depth[11, 11], depth[12, 12] = 7, 9, 81, 0, np.nan
    assert write_point_cloud(tmp_path / 'a.ply', depth, COLOURS, CAMERA) == 2
    points, colours = opened(tmp_path / 'a.ply')
    np.testing.assert_array_equal(points[:, 2], [7, 9])
    np.testing.assert_array_equal(colours, [COLOURS[3, 5], COLOURS[70, 100]])


@pytest.mark.parametrize('seed', [0, 1, 3])
def test_the_road_of_a_rendered_street_is_flat(tmp_path, seed):
    scene = render_street(seed, (192, 640))
    write_point_cloud(tmp_path / 'a.ply', scene.depth_left, scene.left, scene.camera)
    points, _ = opened(tmp_path / 'a.ply')
    # In these streets nothing stands on the road straight ahead.
    road = points[(abs(points[:, 0]) < 1) & (points[:, 1] > 1.2) & (points[:, 2] < 7.5)]
    centred = road - road.mean(0)
    normal = np.linalg.svd(centred, full_matrices=False)[2][2]
    assert len(road) > 1000
    assert abs(centred @ normal).max() < 0.01
    assert abs(normal[1]) > 0.98  # up and down
    assert abs(abs(road.mean(0) @ normal) - 1.65) < 0.02


def test_nothing_near_enough_is_a_sentence_and_no_file(tmp_path):
    with pytest.raises(InputError, match='no point has a depth up to 80 m'):
        write_point_cloud(tmp_path / 'a.ply', np.full((80, 120), np.inf), COLOURS, CAMERA)
    assert list(tmp_path.iterdir()) == []
