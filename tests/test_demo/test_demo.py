"""The page as people use it: a server of its own, a client, and a browser."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import call, refusal
from helpers.processes import environment
from helpers.recipes import recipe_with_weights
from PIL import Image

from mmcnv2.apis import Predictor

pytest.importorskip('gradio', reason='gradio has no release for this Python')
pytestmark = pytest.mark.slow

KINDS = dict(detector='mask-rcnn', segmenter='upernet', fcmae='fcmae')
CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """Config and checkpoint of each kind, in files."""
    folder, found = tmp_path_factory.mktemp('models'), {}
    for kind, name in KINDS.items():
        cfg, checkpoint = recipe_with_weights(f'toy/{name}_convnextv2-atto_toy-scenes', folder)
        (folder / kind).mkdir()
        cfg.dump(folder / kind / 'config.py')
        found[kind] = str(folder / kind / 'config.py'), checkpoint
    return found


@pytest.fixture(scope='module')
def embedded(models, toy_scenes, tmp_path_factory):
    file = tmp_path_factory.mktemp('embedded') / 'scenes.parquet'
    call('embed', models['fcmae'][1], '--images', toy_scenes / 'train', '--out', file, '--image-size', 64)
    return file


class Server:
    """``mmcnv2 demo`` with everything, on a free port, whose temporary files are in a folder of their own."""

    def __init__(self, root, models, embedded):
        self.folder = Path(tempfile.mkdtemp())
        options = [part for kind, given in models.items() for part in (f'--{kind}', *given)]
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'mmcnv2', 'demo', *options, '--neighbours', str(embedded), '--port', '0'],
            cwd=self.folder,
            env={**os.environ, **environment(root), 'TMPDIR': str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = iter(self.process.stdout.readline, '')
        self.url = next((found[0] for line in lines if (found := re.findall(r'http://127\.0\.0\.1:\d+', line))), None)
        assert self.url, self.process.stderr.read()

    def files(self):
        return [path for path in self.folder.rglob('*') if path.is_file()]

    def stop(self, number):
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture(scope='module')
def server(root, models, embedded):
    server = Server(root, models, embedded)
    yield server
    server.process.kill()
    shutil.rmtree(server.folder)


@pytest.fixture
def client(server, tmp_path):
    from gradio_client import Client

    return Client(server.url, download_files=tmp_path, verbose=False)


@pytest.fixture(scope='module')
def scenes(toy_scenes):
    return sorted((toy_scenes / 'val').glob('*.jpg'))


def upload(path):
    from gradio_client import handle_file

    return handle_file(str(path))


def pixels(path):
    return np.asarray(Image.open(path).convert('RGB'))


def enlarged(picture):
    """As the page shows 128 pixels: 6 times as large."""
    import cv2

    return cv2.resize(picture, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)


def test_ten_uploads_at_once_are_answered_one_by_one_as_predictor_does(client, models, scenes):
    """Each sender gets its own picture, though they share a model."""
    predictor = Predictor(*models['detector'])
    expected = {path: enlarged(next(predictor(str(path))).draw()) for path in scenes}
    sent = (scenes * 3)[:10]
    with ThreadPoolExecutor(10) as pool:
        answers = pool.map(lambda path: client.predict(upload(path), 0.3, 'whole image', api_name='/detect'), sent)
        for path, (picture, text) in zip(sent, answers, strict=True):
            assert (pixels(picture) == expected[path]).all()
            assert text.startswith('objects: ')


def test_scores_tiles_and_classes(client, models, scenes):
    _, text = client.predict(upload(scenes[0]), 0.95, 'whole image', api_name='/detect')
    assert text.startswith('objects: 0; 128x128 pixels, ')
    result = next(Predictor(*models['segmenter'])(str(scenes[0])))
    picture, text = client.predict(upload(scenes[0]), 'tiles of 512 pixels', api_name='/segment')
    assert (pixels(picture) == enlarged(result.draw())).all()
    label = int(np.bincount(result.label_map.ravel()).argmax())
    share = (result.label_map == label).mean()
    assert text.splitlines()[4] == f'| {result.classes[label]} | {share:.1%} |'


def test_mask_ratio_and_seed(client, scenes):
    """Of 25 patches at 0.2, 20 are visible; another seed draws other ones, the same seed the same."""
    answers = [client.predict(upload(scenes[0]), 0.2, seed, api_name='/reconstruct') for seed in (0, 1, 0)]
    assert all(text.startswith('patches masked: 5 of 25; ') for *_, text in answers)
    first, other, again = (pixels(masked) for masked, *_ in answers)
    assert (first == again).all() and (first != other).any()


def test_the_nearest_image_of_an_embedded_one_is_itself(client, toy_scenes):
    path = sorted((toy_scenes / 'train').glob('*.jpg'))[3]
    gallery = client.predict(upload(path), api_name='/neighbours')
    captions = [item['caption'] for item in gallery]
    assert captions[0] == f'1.00 {path.name}' and len(captions) == 8
    cosines = [float(caption.split()[0]) for caption in captions]
    assert cosines == sorted(cosines, reverse=True)


def test_an_image_that_is_taken_away_clears_the_results(client):
    assert client.predict(None, 0.3, 'whole image', api_name='/detect') == (None, None)
    assert not client.predict(None, api_name='/neighbours')


@pytest.mark.parametrize('content', [b'no image', b''], ids=['text', 'empty'])
def test_what_is_no_image_gets_a_message(client, tmp_path, content):
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(Exception, match='The image cannot be read: '):
        client.predict(upload(tmp_path / 'a.png'), 'whole image', api_name='/segment')


def test_too_many_pixels_get_a_message_and_are_not_decoded(client, tmp_path):
    Image.new('1', (10_000, 5_001)).save(tmp_path / 'a.png')
    with pytest.raises(Exception, match='10000x5001 pixels, more than the 50,000,000 of this page: make it smaller'):
        client.predict(upload(tmp_path / 'a.png'), 0.3, 'whole image', api_name='/detect')


def test_only_what_was_uploaded_is_read(server, scenes):
    import httpx

    assert httpx.get(f'{server.url}/gradio_api/file={scenes[0]}').status_code in (403, 404)
    fake = dict(path=str(scenes[0]), meta=dict(_type='gradio.FileData'))
    sent = httpx.post(f'{server.url}/gradio_api/call/segment', json=dict(data=[fake, 'whole image'])).json()
    answer = httpx.get(f'{server.url}/gradio_api/call/segment/{sent["event_id"]}', timeout=60).text
    assert 'event: error' in answer and 'event: complete' not in answer


def test_in_a_browser(server, scenes, tmp_path):
    """Upload, slider, a click on a patch; and nothing is asked of another host."""
    api = pytest.importorskip('playwright.sync_api', reason='playwright has no release for this Python')
    if CHROMIUM is None:
        pytest.skip('no chromium: apt install chromium')
    asked, said = [], []
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        page = browser.new_page(viewport=dict(width=1400, height=1000))
        page.on('request', lambda request: asked.append(request.url))
        page.on('console', lambda message: said.append(message.text) if message.type == 'error' else None)
        page.goto(server.url)

        page.locator('input[type=file]').first.set_input_files(scenes[0])
        page.wait_for_selector('text=/objects: /')
        assert natural_sizes(page) == [(768, 768)]
        before = page.locator('text=/objects: /').inner_text()
        slider = page.locator('input[type=range]:visible').first
        slider.focus()
        for _ in range(20):
            page.keyboard.press('ArrowRight')
        page.locator('input[type=number]:visible').first.fill('0.95')
        page.keyboard.press('Enter')
        slider.dispatch_event('pointerup')
        page.wait_for_selector('text=/objects: 0;/')
        assert before != page.locator('text=/objects: /').inner_text()

        page.get_by_role('tab', name='Reconstruct').click()
        page.locator('button.thumbnail-item:visible').nth(1).click()
        page.wait_for_selector('text=/patches masked: 15 of 25/')
        assert natural_sizes(page) == [(768, 768)] * 2
        masked = page.locator('[data-testid="detailed-image"]:visible, .image-frame img:visible').nth(1)
        masked.click(position=dict(x=5, y=masked.bounding_box()['height'] - 5))
        page.wait_for_selector('text=/patches masked: 1[46] of 25/')
        browser.close()
    hosts = {url.split('/')[2] for url in asked if url.startswith(('http', 'ws'))}
    assert hosts == {server.url.split('/')[2]}
    assert not [text for text in said if 'Content Security Policy' in text]


def natural_sizes(page):
    """The pixels of the pictures that the models have drawn."""
    images = page.locator('.image-frame img:visible').all()
    sizes = [tuple(image.evaluate('e => [e.naturalWidth, e.naturalHeight]')) for image in images]
    return [size for size in sizes if size != (128, 128)]


def test_what_cannot_be_served(models, embedded, tmp_path):
    assert 'nothing to try' in refusal('demo')
    assert 'FCMAE is another kind of model' in refusal('demo', '--detector', *models['fcmae'])
    assert 'no such work dir' in refusal('demo', '--fcmae', tmp_path / 'no')
    assert 'has no checkpoint' in refusal('demo', '--fcmae', tmp_path)
    assert 'no such file; mmcnv2 embed writes it' in refusal('demo', '--neighbours', tmp_path / 'a.parquet')
    (tmp_path / 'a.parquet').write_bytes(b'x')
    assert 'none that mmcnv2 embed has written' in refusal('demo', '--neighbours', tmp_path / 'a.parquet')
    host = ('--host', '192.0.2.1')  # of nobody
    assert 'cannot be used' in refusal('demo', '--neighbours', embedded, *host)


def test_other_weights_than_those_of_the_embeddings(models, embedded, tmp_path, monkeypatch):
    import mmcnv2.demo.models as module

    monkeypatch.setattr(module, 'digest_of_weights', lambda backbone: 'other')
    assert 'was made with other weights' in refusal('demo', '--neighbours', embedded)


def test_a_work_dir_is_its_config_and_newest_checkpoint(models, tmp_path, monkeypatch):
    import mmcnv2.demo as module

    config, checkpoint = models['segmenter']
    shutil.copy(config, tmp_path / 'mine.py')
    content = torch.load(checkpoint)
    for iteration in (10, 20):
        torch.save(content | dict(meta=dict(iter=iteration)), tmp_path / f'iter_{iteration}.pth')
    served = []
    monkeypatch.setattr(module, 'serve', lambda models, host, port: served.append((models, host, port)))
    call('demo', '--segmenter', tmp_path)
    (given, *address) = served[0]
    assert address == ['127.0.0.1', 7860] and given.detector is None
    assert given.segmenter.cfg.filename == str(tmp_path / 'mine.py')


def test_nothing_is_left_when_it_stops(server, scenes):
    """The last test of the file: the others have uploaded."""
    names = {path.name for path in server.files()}
    assert scenes[0].name in names and 'scene_0.png' in names
    assert server.stop(signal.SIGTERM) == 0
    assert server.files() == []
