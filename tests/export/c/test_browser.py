"""The page of ``examples/browser``: its WebAssembly without a browser, and the page in one, against Python."""

import contextlib
import importlib.util
import json
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image

from bireal_plugin.depth.inference.predictor import Predictor
from bireal_plugin.export.c.engine import CSession, export_c
from bireal_plugin.folding.fold import fold
from bireal_plugin.models import BiRealClassifier, BiRealResNet
from bireal_plugin.shipping.classification import KEY, Classifier
from tests.conftest import REPOSITORY
from tests.depth.tiny_depth import file_of, tiny_depth
from tests.export.c.compilers import needs_compiler
from tests.folding.test_fold import trained
from tests.warm import Python

CHROMIUM = shutil.which('chromium')
pytestmark = [
    needs_compiler,
    pytest.mark.skipif(importlib.util.find_spec('ziglang') is None, reason='ziglang is not installed'),
]
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason='needs the browser chromium')
CLASSES = ['a', 'b', 'c']
MEAN, STD = (120.0, 110.0, 100.0), (58.0, 57.0, 61.0)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """The folder of the page, and the .c files that it was built from."""
    made, site = tmp_path_factory.mktemp('made'), tmp_path_factory.mktemp('site')
    torch.manual_seed(0)
    backbone = BiRealResNet(depth=18, base_channels=8, num_stages=2, out_indices=(1,))
    model = trained(BiRealClassifier(backbone, len(CLASSES)))
    transform = dict(type='ShorterSideCenterCrop', shorter_side=40, crop=32)
    told = dict(transform=transform, size=(32, 32), mean=MEAN, std=STD, classes=CLASSES)
    classes = export_c(fold(model), made / 'colours.c', (1, 3, 32, 32), metadata={KEY: json.dumps(told)})
    depth = file_of(tiny_depth(made), 'c', made)
    narrow = made / 'narrow.py'
    narrow.write_text(
        f"_base_ = '{REPOSITORY}/configs/bireal_r18_imagenette.py'\nmodel = dict(backbone=dict(base_channels=8))\n"
    )
    ended = Python(['examples/browser/build.py', site, classes, depth, '--float', narrow], folder=REPOSITORY).ended()
    assert ended.status == 0, ended.err
    return site, classes, depth


def test_the_module_computes_what_the_file_does(page):
    wasmtime = pytest.importorskip('wasmtime')
    site, classes, _ = page
    store = wasmtime.Store()
    module = wasmtime.Module.from_file(store.engine, str(site / 'colours.wasm'))
    assert module.imports == []  # so that a page gives it nothing
    exports = wasmtime.Instance(store, module, []).exports(store)
    exports['_initialize'](store)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    exports['memory'].write(store, pixels.tobytes(), exports['pixels'](store))
    assert exports['run'](store) == 0
    place = exports['output'](store)
    found = np.frombuffer(exports['memory'].read(store, place, place + 4 * len(CLASSES)), np.float32)
    with CSession(classes) as session:
        normalised = ((pixels.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
        np.testing.assert_allclose(found, session(normalised)[0][0], rtol=1e-4, atol=1e-5)


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Silent, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def opened(site, *flags):
    """The page in a browser, when it is ready."""
    playwright = pytest.importorskip('playwright.sync_api')
    with served(site) as address, playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox', *flags])
        shown = browser.new_page()
        shown.set_default_timeout(60_000)
        shown.goto(address)
        shown.locator('body[data-ready]').wait_for()
        yield shown
        browser.close()


@needs_browser
def test_the_camera_is_classified(page):
    with opened(page[0], '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream') as shown:
        shown.get_by_text('use the camera').click()
        shown.locator('.bar').first.wait_for()
        assert shown.locator('video').is_visible()
        assert shown.locator('#problem').inner_text() == ''


@needs_browser
def test_the_float_network_stands_beside_the_1_bit_one(page):
    site = page[0]
    kilobytes = {name: round((site / f'{name}.wasm').stat().st_size / 1000) for name in ('colours', 'float_network')}
    with opened(site) as shown:
        told = shown.locator('.float')
        assert told.inner_text() == f'float network of its shape: {kilobytes["float_network"]} kB with its code'
        shown.get_by_text('time both').click()
        shown.get_by_text('times as fast').wait_for()
        pattern = r'float .*: (\d+) kB with its code, ([\d.]+) ms; 1 bit: (\d+) kB, ([\d.]+) ms, [\d.]+ times as fast'
        large, slow, small, fast = map(float, re.fullmatch(pattern, told.inner_text()).groups())
    assert (large, small) == (kilobytes['float_network'], kilobytes['colours'])
    assert slow > 0
    assert fast > 0


@needs_browser
def test_the_page_shows_what_python_predicts(page, tmp_path):
    site, classes, depth = page
    pixels = np.random.default_rng(1).integers(0, 256, (9, 12, 3), np.uint8)
    photo = tmp_path / 'photo.png'
    Image.fromarray(pixels).resize((120, 90), Image.Resampling.BICUBIC).save(photo)
    (tmp_path / 'text.png').write_text('no picture')
    guess = Classifier.of_file(classes)(photo)[0]
    predictor = Predictor(depth)
    disparity = predictor.run(predictor.prepared(np.asarray(Image.open(photo))))
    with opened(site) as shown:
        shown.set_input_files('#file', tmp_path / 'text.png')
        shown.get_by_text('text.png cannot be read as a picture').wait_for()
        shown.set_input_files('#file', photo)
        percent, name = shown.locator('.bar').first.inner_text().split(' % ')
        assert name == guess.name
        assert float(percent) == pytest.approx(100 * guess.probability, abs=0.1)
        canvas = shown.locator('canvas')
        box = canvas.bounding_box()
        assert box['width'] / box['height'] == pytest.approx(120 / 90, rel=0.02)  # the photo's
        canvas.click(position=dict(x=box['width'] / 2 + 1, y=box['height'] / 2 + 1))
        height, width = disparity.shape
        relative = float(shown.locator('.number').inner_text().split()[0])
        assert relative == pytest.approx(width / disparity[height // 2, width // 2], rel=5e-3)
