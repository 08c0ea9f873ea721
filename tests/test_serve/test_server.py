"""The command as it is used: a process of its own with a small model, clients, signals; the settings it refuses."""

import contextlib
import http.client
import io
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers.commands import call, refusal
from helpers.pictures import png_that_claims
from helpers.processes import environment
from helpers.recipes import recipe_with_weights
from PIL import Image

from mmcnv2.apis import Predictor
from mmcnv2.serve import Settings, serve
from mmcnv2.serve.settings import read_token
from mmcnv2.utils.errors import InputError

pytest.importorskip('fastapi', reason='fastapi has no release for this Python')

TOKEN = 'a-token'
AUTHORIZED = {'Authorization': f'Bearer {TOKEN}', 'Content-Type': 'image/jpeg'}


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    """A work dir with config and checkpoint of a segmenter."""
    folder = tmp_path_factory.mktemp('upernet')
    cfg, checkpoint = recipe_with_weights('toy/upernet_convnextv2-atto_toy-scenes', folder)
    cfg.dump(folder / 'mine.py')
    torch.save(torch.load(checkpoint) | dict(meta=dict(iter=10)), folder / 'iter_10.pth')
    return folder


class Server:
    """``mmcnv2 serve`` on a free port, whose temporary files are in a folder of their own."""

    def __init__(self, root, folder, *arguments, **env):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'mmcnv2', 'serve', *map(str, arguments), '--port', '0'],
            cwd=folder,
            env={**os.environ, **environment(root), 'TMPDIR': str(folder), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = iter(self.process.stdout.readline, '')
        port = next(
            (found[1] for line in lines if (found := re.search(r'http://127\.0\.0\.1:(\d+)/docs', line))), None
        )
        assert port, self.process.stderr.read()
        self.port = int(port)

    def request(self, method, path, body=None, headers=AUTHORIZED, **kwargs):
        with contextlib.closing(http.client.HTTPConnection('127.0.0.1', self.port, timeout=120)) as connection:
            connection.request(method, path, body, headers, **kwargs)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def metric(self, name):
        text = self.request('GET', '/metrics')[1].decode()
        return float(re.search(rf'^{re.escape(name)} (\S+)$', text, re.MULTILINE)[1])


@pytest.fixture(scope='module')
def server(root, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp('server')
    server = Server(root, folder, model, '--max-mb', '1', '--max-batch', '4', MMCNV2_SERVE_TOKEN=TOKEN)
    yield server
    server.process.kill()
    server.process.communicate()


@pytest.fixture(scope='module')
def images(toy_scenes):
    return [path.read_bytes() for path in sorted((toy_scenes / 'val').glob('*.jpg'))]


@pytest.mark.slow
def test_many_clients_get_each_their_own(server, model, toy_scenes, images):
    """Sixteen at a time, a fifth broken: nobody gets the answer of another, and each batch has at most four."""
    predictor = Predictor(str(model / 'mine.py'), str(model / 'iter_10.pth'))
    expected = [result.label_map for result in predictor(str(toy_scenes / 'val'))]
    broken = [(b'text', 422), (images[0][:900], 422), (bytes(1_100_000), 413), (png_that_claims(9999, 9999), 413)]

    def ask(number):
        if number % 5 == 4:
            data, status = broken[number // 5 % 4]
            got, answer = server.request('POST', '/predict', data)
            return got == status and list(json.loads(answer)) == ['error']
        status, answer = server.request('POST', '/predict?format=label_map', images[number % 4])
        found = np.asarray(Image.open(io.BytesIO(answer)))
        return status == 200 and (found != expected[number % 4]).mean() < 1e-3

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(60)))
    assert server.metric('mmcnv2_requests_total{path="/predict",status="200"}') == 48
    assert server.metric('mmcnv2_batch_size_sum') == 48
    assert server.metric('mmcnv2_batch_size_bucket{le="4.0"}') == server.metric('mmcnv2_batch_size_count')
    assert server.metric('mmcnv2_waiting_images') == 0


@pytest.mark.slow
def test_too_many_bytes_are_refused_also_without_a_length(server):
    def parts():
        yield from [bytes(100_000)] * 30

    for length in ({}, {'Content-Length': '3000000'}):
        status, answer = server.request('POST', '/predict', parts(), {**AUTHORIZED, **length})
        assert (status, json.loads(answer)) == (
            413,
            dict(error='the body has more than 1,000,000 bytes: make the image smaller'),
        )


@pytest.mark.slow
def test_token_and_health(server, images):
    status, answer = server.request('POST', '/predict', images[0], {'Content-Type': 'image/jpeg'})
    assert status == 401 and 'Authorization: Bearer TOKEN' in json.loads(answer)['error']
    assert server.request('GET', '/health', headers={}) == (200, b'{"status":"ready","model":"EncoderDecoder"}')


@pytest.mark.slow
def test_a_client_that_leaves(server, images):
    """Half a body, and a whole one: the server counts them, and goes on."""
    head = f'POST /predict HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: image/jpeg\r\n'
    for sent in (images[0][:500], images[0]):
        with socket.create_connection(('127.0.0.1', server.port)) as connection:
            connection.sendall(head.encode() + f'Content-Length: {len(images[0])}\r\n\r\n'.encode() + sent)
    for _ in range(3000):
        answered = server.metric('mmcnv2_request_seconds_count{path="/predict"}')
        if server.metric('mmcnv2_waiting_images') == 0 and answered >= 2:
            break
        time.sleep(0.01)
    assert server.request('POST', '/predict', images[0])[0] == 200


@pytest.mark.slow
def test_it_listens_on_this_machine_only_and_writes_nothing(server):
    with open(f'/proc/{server.process.pid}/net/tcp') as lines:
        listening = [line.split()[1] for line in lines if line.split()[3] == '0A']
    assert f'0100007F:{server.port:04X}' in listening
    assert [path for path in server.folder.rglob('*') if path.is_file()] == []


@pytest.mark.slow
def test_sigterm_answers_what_was_accepted(server, images):
    """The last test with the server: twelve wait or are computed when it comes; afterwards nobody gets in."""
    before = server.metric('mmcnv2_requests_total{path="/predict",status="200"}')
    connections = [http.client.HTTPConnection('127.0.0.1', server.port, timeout=120) for _ in range(12)]
    for connection in connections:
        connection.request('POST', '/predict', images[0], AUTHORIZED)
    answered = 'mmcnv2_requests_total{path="/predict",status="200"}'
    while server.metric('mmcnv2_open_requests') + server.metric(answered) < before + 12:
        time.sleep(0.01)
    server.process.send_signal(signal.SIGTERM)
    for connection in connections:
        answer = connection.getresponse()
        assert answer.status == 200 and len(json.loads(answer.read())['annotations']) > 0
        connection.close()
    _, errors = server.process.communicate(timeout=120)
    assert server.process.returncode == 0, errors
    assert 'Traceback' not in errors
    with pytest.raises(OSError):
        server.request('GET', '/health')
    assert list(server.folder.glob('mmcnv2-serve-*')) == []


class Stuck:
    """A predictor whose model never comes back."""

    writes = ('json',)
    first_label = 0

    def __init__(self):
        self.task = self.model = self

    def read(self, path):
        return np.zeros((4, 4, 3), np.uint8)

    def prepare(self, given):
        pass

    def shape(self, given):
        return given.pixels.shape

    def predict(self, batch):
        time.sleep(3600)


@pytest.mark.slow
def test_the_time_to_drain_has_an_end(tmp_path, monkeypatch):
    """In a fork, which need not load anything."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    arguments = (Stuck(), '127.0.0.1', port, Settings(drain_seconds=1, max_wait=0))
    process = multiprocessing.get_context('fork').Process(target=serve, args=arguments)
    process.start()
    try:
        for _ in range(3000):
            with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port)) as connection:
                break
            time.sleep(0.01)
        file = io.BytesIO()
        Image.new('RGB', (4, 4)).save(file, 'PNG')
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=120)
        connection.request('POST', '/predict', file.getvalue(), {'Content-Type': 'image/png'})
        metrics = http.client.HTTPConnection('127.0.0.1', port, timeout=120)
        text = ''
        while 'mmcnv2_open_requests 1.0' not in text:
            metrics.request('GET', '/metrics')
            text = metrics.getresponse().read().decode()
        os.kill(process.pid, signal.SIGTERM)
        process.join(120)
        assert process.exitcode == 0
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()


# ---- what it refuses, without a server ----


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(max_batch=0), 'max_batch must be at least 1, got 0'),
        (dict(max_bytes=0), 'max_bytes must be at least 1'),
        (dict(max_wait=-1.0), 'max_wait must be 0 or more seconds'),
        (dict(max_wait=float('nan')), 'max_wait must be 0 or more seconds'),
        (dict(token=''), 'the token must be one word'),
        (dict(token='two words'), 'the token must be one word'),
    ],
)
def test_settings(settings, message):
    with pytest.raises(InputError, match=message):
        Settings(**settings)


def test_where_the_token_comes_from(tmp_path, monkeypatch):
    monkeypatch.delenv('MMCNV2_SERVE_TOKEN', raising=False)
    file = tmp_path / 'token'
    assert read_token(None) is None
    with pytest.raises(InputError, match='cannot be read'):
        read_token(file)
    file.write_text('sesame\n')
    assert read_token(file) == 'sesame'
    monkeypatch.setenv('MMCNV2_SERVE_TOKEN', 'other')
    assert read_token(None) == 'other'
    with pytest.raises(InputError, match='are both set: keep one'):
        read_token(file)


@pytest.mark.slow
def test_what_cannot_be_served(model, tmp_path, monkeypatch, capsys):
    import mmcnv2.serve.server as module

    assert 'MODEL' in (line := refusal('serve', tmp_path / 'no')) and 'no such work dir' in line
    assert 'has no checkpoint' in refusal('serve', tmp_path)
    assert 'max_batch must be at least 1' in refusal('serve', model, '--max-batch', 0)
    assert 'cannot be used' in refusal('serve', model, '--host', '192.0.2.1')  # of nobody
    with socket.create_server(('127.0.0.1', 0)) as taken:
        assert 'choose another port' in refusal('serve', model, '--port', taken.getsockname()[1])
    monkeypatch.setattr(module, 'listen', lambda host, port: socket.create_server(('127.0.0.1', 0)))
    monkeypatch.setattr('uvicorn.Server.run', lambda self, sockets: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        call('serve', model, '--host', '0.0.0.0')
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert 'warning: --host 0.0.0.0 lets others in without a token: set MMCNV2_SERVE_TOKEN' in capsys.readouterr().err
