"""What each request gets, without a process: the application with small models and its worker."""

import asyncio
import io
import json
import re
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from helpers.pictures import png_that_claims
from helpers.recipes import recipe_with_weights
from PIL import Image
from pycocotools import mask as coco_mask

from mmcnv2.apis import Predictor
from mmcnv2.inference.results import Detections
from mmcnv2.inference.sources import find_items
from mmcnv2.inference.writing import write_predictions

pytest.importorskip('fastapi', reason='fastapi has no release for this Python')
from starlette.testclient import TestClient

from mmcnv2.serve import Settings, uploads
from mmcnv2.serve.app import build_app
from mmcnv2.serve.metrics import Metrics
from mmcnv2.serve.worker import Worker


@pytest.fixture(scope='module')
def scene(toy_scenes):
    return sorted((toy_scenes / 'val').glob('*.jpg'))[0]


class StandIn:
    """A task of a detector that finds one box with the score 0.75; it waits for ``go``. Green images break it."""

    writes = ('json', 'pictures', 'video')
    first_label = 0

    def __init__(self):
        self.score_threshold, self.count = 0.3, 0
        self.go, self.is_busy = threading.Event(), threading.Event()
        self.go.set()

    def read(self, path):
        with Image.open(path) as image:
            return np.asarray(image.convert('RGB'))

    def prepare(self, given):
        pass

    def shape(self, given):
        return given.pixels.shape

    def predict(self, batch):
        self.is_busy.set()
        assert self.go.wait(60)
        self.count += len(batch)
        if any((given.pixels[0, 0] == (0, 255, 0)).all() for given in batch):
            raise RuntimeError('a fault')
        found = np.array([self.score_threshold <= 0.75])
        values = dict(boxes=[[1, 2, 5, 8]], scores=[0.75], labels=[1])
        kept = {name: np.array(value)[found] for name, value in values.items()}
        return [Detections(path=None, image=given.pixels, classes=('a', 'b'), **kept) for given in batch]


@pytest.fixture
def served(tmp_path):
    """A function that serves a predictor, without one a stand-in; its client has ``task`` and ``worker``, too."""
    workers = []

    def serve(predictor=None, **settings):
        predictor = predictor or SimpleNamespace(task=StandIn(), model=StandIn())
        metrics, settings = Metrics(), Settings(max_wait=0, **settings)
        worker = Worker(predictor, metrics, tmp_path, settings.max_batch, settings.max_wait)
        worker.start()
        workers.append(worker)
        client = TestClient(build_app(predictor, worker, settings, metrics), raise_server_exceptions=False)
        client.task, client.worker = predictor.task, worker
        return client

    yield serve
    for worker in workers:
        worker.stop(60)


def png(colour=(9, 9, 9), size=(10, 12)):
    file = io.BytesIO()
    Image.new('RGB', size, colour).save(file, 'PNG')
    return file.getvalue()


def post(client, data, kind='image/png', **kwargs):
    return client.post('/predict', content=data, headers={'Content-Type': kind}, **kwargs)


def assert_refused(answer, status, message):
    assert answer.status_code == status, answer.text
    assert answer.headers['content-type'] == 'application/json'
    (key, value), *rest = answer.json().items()
    assert key == 'error' and not rest and '\n' not in value
    assert re.search(message, value), value


# ---- answers ----


@pytest.mark.slow
@pytest.mark.parametrize('name', ['mask-rcnn', 'upernet'])
def test_json_is_what_mmcnv2_predict_writes(served, scene, tmp_path_factory, name):
    folder = tmp_path_factory.mktemp(name)
    few = {'model.test_cfg.rcnn.max_per_img': 10} if name == 'mask-rcnn' else {}
    cfg, checkpoint = recipe_with_weights(f'toy/{name}_convnextv2-atto_toy-scenes', folder, **few)
    predictor = Predictor(cfg, checkpoint)
    kinds = ('json', 'pictures', *(('masks',) if name == 'upernet' else ()))
    write_predictions(predictor, find_items(str(scene)), folder / 'out', kinds, {})
    expected = json.loads((folder / 'out/predictions.json').read_text())
    client = served(predictor)
    for answer in (
        client.post('/predict', files=dict(image=(scene.name, scene.read_bytes()))),
        post(client, scene.read_bytes(), 'image/jpeg'),
        post(client, scene.read_bytes(), 'application/octet-stream', params=dict(format='json')),
    ):
        assert (answer.status_code, answer.headers['content-type']) == (200, 'application/json')
        found = answer.json()
        assert found['images'][0].pop('file_name') in (scene.name, 'image')
        assert found == expected | dict(images=[dict(id=1, width=128, height=128)])
    assert len(expected['annotations']) > 1 and 'counts' in expected['annotations'][0]['segmentation']
    result = next(predictor(str(scene)))
    answer = post(client, scene.read_bytes(), params=dict(format='picture'))
    assert answer.headers['content-type'] == 'image/png'
    assert (np.asarray(Image.open(io.BytesIO(answer.content))) == result.draw()).all()
    answer = post(client, scene.read_bytes(), params=dict(format='label_map'))
    if name == 'upernet':
        written = Image.open(folder / 'out/label_maps' / f'{scene.stem}.png')
        assert (np.asarray(Image.open(io.BytesIO(answer.content))) == np.asarray(written)).all()
        regions = sum(coco_mask.area(one['segmentation']) for one in expected['annotations'])
        assert regions == 128 * 128
    else:
        assert_refused(answer, 400, '^format=label_map: MaskRCNN gives json, picture$')


@pytest.mark.slow
def test_fcmae_gives_pictures(served, scene, tmp_path_factory):
    predictor = Predictor(
        *recipe_with_weights('toy/fcmae_convnextv2-atto_toy-scenes', tmp_path_factory.mktemp('fcmae'))
    )
    client = served(predictor)
    answer = post(client, scene.read_bytes())
    assert (np.asarray(Image.open(io.BytesIO(answer.content))) == next(predictor(str(scene))).draw()).all()
    assert_refused(post(client, png(), params=dict(format='json')), 400, '^format=json: FCMAE gives picture$')
    assert_refused(post(client, png(), params=dict(score_threshold=0.5)), 400, 'FCMAE is no detector')


def test_each_request_has_its_threshold(served):
    client = served()
    for threshold, count in ((0.75, 1), (0.8, 0), (0, 1), (None, 1)):
        params = {} if threshold is None else dict(score_threshold=threshold)
        assert len(post(client, png(), params=params).json()['annotations']) == count
    box = post(client, png()).json()['annotations'][0]
    assert box == dict(id=1, image_id=1, category_id=2, area=24.0, bbox=[1.0, 2.0, 4.0, 6.0], score=0.75, iscrowd=0)


# ---- what is refused ----


@pytest.mark.parametrize(
    ('query', 'message'),
    [
        ('threshold=1', "^there is no parameter 'threshold', only format, score_threshold$"),
        ('format=gif', '^format=gif: '),
        ('score_threshold=1.5', '^score_threshold=1.5: '),
        ('score_threshold=nan', '^score_threshold=nan: '),
        ('score_threshold=a%0Ab', '^score_threshold=a b: '),
        ('format=label_map', 'StandIn gives json, picture'),
    ],
)
def test_parameters(served, query, message):
    client = served()
    assert_refused(post(client, png(), params=query), 400, message)
    assert client.task.count == 0


def test_content_types(served):
    client = served()
    for kind in ('text/plain', 'application/json', 'application/x-www-form-urlencoded'):
        assert_refused(post(client, png(), kind), 415, f'^Content-Type is {kind}, expected image/')
    assert client.post('/predict', content=png()).status_code == 200  # not said


@pytest.mark.parametrize(
    ('form', 'message'),
    [
        (dict(data=dict(a='b'), files={}), '^Content-Type is application/x-www-form-urlencoded'),
        (dict(files=[('a', png()), ('b', png())]), '^the form must hold one file and nothing else: Too many files'),
        (dict(files=[('a', png())], data=dict(b='c')), '^the form must hold one file and nothing else: Too many fi'),
        (dict(content=b'x', headers={'Content-Type': 'multipart/form-data'}), 'Missing boundary'),
        (dict(content=b'--x--', headers={'Content-Type': 'multipart/form-data; boundary=x'}), '^the form has no file'),
        (dict(content=b'????', headers={'Content-Type': 'multipart/form-data; boundary=x'}), '^the form must hold'),
    ],
)
def test_forms(served, form, message):
    assert_refused(served().post('/predict', **form), 415 if 'urlencoded' in message else 400, message)


def test_what_is_no_image_or_broken(served):
    client = served()
    assert_refused(post(client, b''), 422, '^the image: the file is empty$')
    assert_refused(post(client, b'text'), 422, '^the image: not the beginning of an image of these kinds: JPEG, PNG')
    assert_refused(client.post('/predict', files=dict(image=b'text')), 422, '^the image: not the beginning')
    file = io.BytesIO()
    Image.effect_noise((64, 64), 99).save(file, 'PNG')
    answer = post(client, file.getvalue()[:-2000])
    assert answer.status_code in (422, 500)  # 500: the stand-in reads without the readers of the package
    assert post(client, png()).status_code == 200


@pytest.mark.slow
def test_what_the_readers_of_the_package_refuse(served, scene, tmp_path_factory):
    """Names nothing of this machine."""
    predictor = Predictor(
        *recipe_with_weights('toy/upernet_convnextv2-atto_toy-scenes', tmp_path_factory.mktemp('upernet'))
    )
    client = served(predictor)
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((32, 32, 5), np.float32), planarconfig='contig', photometric='minisblack')
    for data, message in (
        (scene.read_bytes()[:1500], '^the image: '),
        (file.getvalue(), r"5 bands of float32, which bands='rgb' does not read"),
    ):
        answer = post(client, data)
        assert_refused(answer, 422, message)
        assert '/' not in answer.json()['error']
    assert post(client, scene.read_bytes()).status_code == 200


def test_limits(served):
    client = served(max_bytes=10_000, max_pixels=1000)
    message = '^the body has more than 10,000 bytes'
    assert_refused(post(client, bytes(10_001)), 413, message)
    assert_refused(post(client, iter([bytes(6000)] * 2)), 413, message)  # chunked: no length is said
    assert_refused(client.post('/predict', files=dict(image=bytes(10_000))), 413, message)
    assert_refused(post(client, png(size=(100, 11))), 413, '^the image has 100x11 pixels, more than 1,000')
    assert_refused(post(client, png_that_claims(60_000, 60_000)), 413, '^the image has more than 1,000 pixels')
    file = io.BytesIO()
    np.savez_compressed(file, a=np.zeros((10, 10, 100)))
    assert_refused(post(client, file.getvalue()), 413, r'^the image has 80,\d+ bytes when decoded, more than 16,000')
    assert client.task.count == 0
    assert post(client, png(size=(100, 10))).status_code == 200


def test_a_body_that_takes_too_long(served, monkeypatch):
    """As ASGI: the client sends a part, and then nothing."""
    monkeypatch.setattr(uploads, 'BODY_SECONDS', 0.05)
    client, sent = served(), []
    parts = [dict(type='http.request', body=b'x', more_body=True)]

    async def receive():
        return parts.pop() if parts else await asyncio.sleep(60)

    asyncio.run(client.app(scope(), receive, keep(sent)))
    assert sent[0]['status'] == 408 and (b'connection', b'close') in sent[0]['headers']
    assert 'did not arrive within' in sent[1]['body'].decode()


def test_token(served):
    client = served(token='sesame')
    for value in (None, 'sesame', 'Bearer sesam', 'Bearer sesame2', 'Basic sesame', 'Bearer \xe4'):
        headers = {} if value is None else {'Authorization': value.encode('latin-1')}
        for answer in (
            client.post('/predict', content=png(), headers=headers),
            client.get('/metrics', headers=headers),
        ):
            assert_refused(answer, 401, 'Authorization: Bearer TOKEN')
            assert answer.headers['www-authenticate'] == 'Bearer'
    headers = {'Authorization': 'Bearer sesame'}
    assert client.post('/predict', content=png(), headers=headers).status_code == 200
    assert client.get('/metrics', headers=headers).status_code == 200
    assert client.get('/health').status_code == client.get('/docs').status_code == 200
    assert client.post('/predict?a=b', content=png()).status_code == 401  # who has none learns nothing


def test_a_fault_of_the_model_costs_its_request(served, caplog):
    client = served()
    assert_refused(post(client, png((0, 255, 0))), 500, r'could not be predicted \(RuntimeError\); the log says more$')
    assert 'RuntimeError: a fault' in caplog.text
    assert post(client, png()).status_code == 200
    assert client.get('/health').json() == dict(status='ready', model='StandIn')


def test_other_paths(served):
    client = served()
    assert_refused(client.get('/predict'), 405, 'Method Not Allowed')
    assert_refused(client.get('/'), 404, 'Not Found')


# ---- the queue ----


def in_threads(function, count):
    """The futures of calls at the same time."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(count)
    futures = [pool.submit(function) for _ in range(count)]
    pool.shutdown(wait=False)
    return futures


def wait_until(condition):
    for _ in range(6000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError('waited a minute')


def waiting(client):
    return float(re.search(r'^mmcnv2_waiting_images (\S+)', client.get('/metrics').text, re.MULTILINE)[1])


def test_a_full_queue(served):
    """Of three, the model has one and two wait; the fourth is sent away, and comes again later."""
    client = served(max_requests=3, max_batch=1)
    client.task.go.clear()
    answers = in_threads(lambda: post(client, png()), 3)
    wait_until(lambda: waiting(client) == 2)
    assert 'mmcnv2_open_requests 3.0' in client.get('/metrics').text
    refused = post(client, png())
    assert_refused(refused, 503, '^3 requests are being answered: try again$')
    assert refused.headers['retry-after'] == '1'
    client.task.go.set()
    assert [answer.result(60).status_code for answer in answers] == [200] * 3
    assert post(client, png()).status_code == 200


def scope():
    return dict(
        type='http',
        method='POST',
        path='/predict',
        raw_path=b'/predict',
        root_path='',
        scheme='http',
        query_string=b'',
        headers=[(b'content-type', b'image/png')],
        http_version='1.1',
        server=('a', 80),
        client=('b', 1),
    )


def keep(sent):
    async def send(message):
        sent.append(message)

    return send


def test_a_client_that_leaves_costs_nothing(served):
    """The first image is computed; the second waits when its client goes, and never is."""
    client = served(max_batch=1)
    client.task.go.clear()
    (first,) = in_threads(lambda: post(client, png()), 1)
    assert client.task.is_busy.wait(60)
    sent, left = [], threading.Event()
    messages = [dict(type='http.request', body=png()), dict(type='http.disconnect')]

    async def receive():
        if len(messages) == 1:
            while not left.is_set():
                await asyncio.sleep(0.01)
        return messages.pop(0)

    second = threading.Thread(target=lambda: asyncio.run(client.app(scope(), receive, keep(sent))))
    second.start()
    wait_until(lambda: waiting(client) == 1)
    left.set()
    second.join(60)
    assert sent == []
    client.task.go.set()
    assert first.result(60).status_code == 200
    assert post(client, png()).status_code == 200
    assert client.task.count == 2
    assert 'mmcnv2_requests_total{path="/predict",status="499"} 1.0' in client.get('/metrics').text


def test_a_model_that_has_stopped_is_said(served):
    client = served()
    client.worker.stop(60)
    assert_refused(client.get('/health'), 503, '^the model has stopped')
    assert_refused(post(client, png()), 503, '^the model has stopped')


# ---- what is told ----


def test_numbers_of_the_metrics(served):
    """Three at once after one alone: batches of 1 and 3."""
    client = served()
    client.task.go.clear()
    answers = in_threads(lambda: post(client, png()), 1)
    assert client.task.is_busy.wait(60)
    answers += in_threads(lambda: post(client, png()), 3)
    wait_until(lambda: waiting(client) == 3)
    client.task.go.set()
    assert [answer.result(60).status_code for answer in answers] == [200] * 4
    post(client, b'text')
    client.get('/nowhere')
    client.get('/elsewhere')
    text = client.get('/metrics').text
    value = dict(line.rsplit(' ', 1) for line in text.splitlines() if not line.startswith('#'))
    assert value['mmcnv2_requests_total{path="/predict",status="200"}'] == '4.0'
    assert value['mmcnv2_requests_total{path="/predict",status="422"}'] == '1.0'
    assert value['mmcnv2_requests_total{path="other",status="404"}'] == '2.0'
    assert value['mmcnv2_request_seconds_count{path="/predict"}'] == '5.0'
    assert value['mmcnv2_batch_size_bucket{le="1.0"}'] == '1.0' and value['mmcnv2_batch_size_sum'] == '4.0'
    assert value['mmcnv2_model_seconds_count'] == value['mmcnv2_batch_size_count'] == '2.0'
    assert value['mmcnv2_waiting_images'] == value['mmcnv2_open_requests'] == '0.0'
    # All of the requests waited for the model, so its time is part of theirs.
    assert float(value['mmcnv2_model_seconds_sum']) < float(value['mmcnv2_request_seconds_sum{path="/predict"}'])
    assert float(value['process_resident_memory_bytes']) > 1e6


def test_openapi(served):
    client = served()
    api = client.get('/openapi.json').json()
    assert set(api['paths']) == {'/predict', '/health', '/metrics'}
    operation = api['paths']['/predict']['post']
    assert set(operation['requestBody']['content']) == {'multipart/form-data', 'image/*', 'application/octet-stream'}
    assert [one['name'] for one in operation['parameters']] == ['format', 'score_threshold']
    assert set(operation['responses']) == {'200', '400', '401', '408', '413', '415', '422', '500', '503'}
    assert set(operation['responses']['200']['content']) == {'application/json', 'image/png'}
    schemas = api['components']['schemas']
    for status in set(operation['responses']) - {'200'}:
        assert operation['responses'][status]['content']['application/json']['schema'] == {
            '$ref': '#/components/schemas/Error'
        }
    named = set(re.findall(r'#/components/schemas/(\w+)', json.dumps(api)))
    assert named <= set(schemas)
    answer = post(client, png()).json()
    assert set(answer) == set(schemas['Predictions']['properties'])
    assert set(answer['annotations'][0]) <= set(schemas['Annotation']['properties'])
    assert set(answer['annotations'][0]) >= set(schemas['Annotation']['required'])


def test_the_page_has_all_of_it_and_asks_no_other_host(served):
    client = served()
    answer = client.get('/docs')
    api = client.get('/openapi.json').json()
    assert answer.headers['content-security-policy'].startswith("default-src 'none'")
    assert not re.search(r'<script|<link|<img|src=|url\(|https?:', answer.text)
    for name in (*api['paths'], *api['components']['schemas'], 'score_threshold', 'number from 0 to 1', 'image/png'):
        assert name in answer.text
