"""The page in a real browser."""

import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from PIL import Image

from tests.app.networks import photograph, tiny_networks

gradio = pytest.importorskip('gradio', reason="needs the extra 'app'")
playwright = pytest.importorskip('playwright.sync_api', reason='needs playwright')
CHROMIUM = shutil.which('chromium')
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='needs the browser chromium')


@pytest.fixture(scope='module')
def address(tmp_path_factory):
    from bireal_plugin.app.page import served

    networks = tiny_networks(tmp_path_factory.mktemp('networks'))
    with served(networks, host='127.0.0.1', port=None, most_megabytes=1) as address:
        yield address


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture
def page(address, browser):
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.get_by_role('tab', name='Depth').wait_for()
    yield page
    page.close()


def upload(page, file):
    page.locator('input[type=file]:visible, [role=tabpanel]:visible input[type=file]').first.set_input_files(file)


def test_a_photograph_is_classified(page, tmp_path):
    upload(page, photograph(tmp_path, 'green'))
    page.locator('h2', has_text='green').wait_for()


def test_depth_appears_and_a_click_gives_a_number(page, tmp_path):
    page.get_by_role('tab', name='Depth').click()
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 30  # mm, of a diagonal of 43.3 mm
    upload(page, photograph(tmp_path, 'red', exif=exif))
    playwright.expect(page.get_by_label('Focal length')).to_have_value('80')
    page.get_by_role('button', name='Show depth').click()
    shown = page.locator('#depth img')
    shown.wait_for()
    page.get_by_text(re.compile(r'^Depth is in metres\. net\.safetensors$')).wait_for()
    shown.click(position=dict(x=5, y=5))
    page.locator('#number', has_text=' m').get_by_text('column').wait_for()
    page.locator('.js-plotly-plot canvas').first.hover()
    pointed = page.locator('.js-plotly-plot .hovertext').text_content()
    assert re.fullmatch(r'depth \d+\.\d\d m', pointed)
    for name in ('depth.png', 'points.ply'):
        page.locator(f'a[href*="{name}"]').first.wait_for()
    with page.expect_download() as download:
        page.locator('a[href*="depth.npy"]').first.click()
    assert np.load(download.value.path()).shape == (64, 96)


@pytest.mark.parametrize('told', [None, 80.0])
def test_a_focal_length_that_is_typed_stays_though_the_photographs_own_comes_late(page, tmp_path, monkeypatch, told):
    asked, answered = Event(), Event()

    def late(photo):
        asked.set()
        time.sleep(2)
        answered.set()
        return told

    monkeypatch.setattr('bireal_plugin.app.answers.suggested_focal', late)
    page.get_by_role('tab', name='Depth').click()
    upload(page, photograph(tmp_path, 'red'))
    assert asked.wait(60)
    field = page.get_by_label('Focal length')
    field.fill('55')
    assert not answered.is_set()
    assert answered.wait(60)
    page.wait_for_timeout(1500)
    playwright.expect(field).to_have_value('55')


def test_a_broken_upload_is_a_sentence(page, tmp_path):
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(photograph(tmp_path, 'red').read_bytes()[:700])
    upload(page, broken)
    page.get_by_text('broken.jpg cannot be decoded as an image').wait_for()


def test_a_large_upload_is_refused(page, tmp_path):
    large = tmp_path / 'large.jpg'
    large.write_bytes(photograph(tmp_path, 'red').read_bytes() + bytes(2_000_000))
    upload(page, large)
    page.get_by_text('exceed the maximum allowed size').wait_for()


def test_two_users_at_once_do_not_mix(address, tmp_path):
    client = pytest.importorskip('gradio_client')

    def answers_of(colour):
        user = client.Client(address, verbose=False)
        photo = client.handle_file(photograph(tmp_path, colour))
        return [user.predict(photo, api_name='/classes')['label'] for _ in range(10)]

    with ThreadPoolExecutor() as users:
        assert list(users.map(answers_of, ('red', 'blue'))) == [['red'] * 10, ['blue'] * 10]


def test_two_users_at_once_have_each_their_own_depth(address, tmp_path):
    client = pytest.importorskip('gradio_client')
    photos = {colour: photograph(tmp_path, colour) for colour in ('red', 'blue')}

    def depths_of(colour):
        user = client.Client(address, verbose=False, download_files=str(tmp_path / f'of {colour}'))
        answers = [user.predict(client.handle_file(photos[colour]), 80, api_name='/depth') for _ in range(5)]
        files = [next(file for file in answer[-1] if file.endswith('.npy')) for answer in answers]
        return [np.load(file) for file in files]

    with ThreadPoolExecutor() as users:
        found = dict(zip(photos, users.map(depths_of, photos), strict=True))
    assert not np.array_equal(found['red'][0], found['blue'][0])
    predictor = tiny_networks(tmp_path).predictor
    for colour, photo in photos.items():
        expected = predictor.metres(photo, focal=80.0)
        assert all(np.array_equal(depth, expected) for depth in found[colour])


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    from bireal_plugin.app.page import served

    client = pytest.importorskip('gradio_client')
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', None)
    networks = tiny_networks(tmp_path)
    photo = photograph(tmp_path, 'red')
    before = {*tmp_path.rglob('*')}
    with served(networks, host='127.0.0.1', port=None, most_megabytes=1) as address:
        client.Client(address, verbose=False).predict(client.handle_file(photo), api_name='/classes')
        (folder,) = (path for path in tmp_path.iterdir() if path.name.startswith('bireal-app-'))
        assert [*folder.rglob('red.jpg')]  # as long as the command runs
    assert {*tmp_path.rglob('*')} == before
