"""The load on a server: a real one, and a stand-in whose wrong and lost answers must be seen."""

import copy
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from helpers.commands import call, refusal
from helpers.recipes import recipe_with_weights

from mmcnv2.benchmarks.serving import Ask, agrees, load, requests
from mmcnv2.cli import run_command

FOUND = dict(
    info={},
    categories=[dict(id=1, name='a'), dict(id=2, name='b')],
    images=[dict(id=1, file_name='image', width=9, height=9)],
    annotations=[dict(id=1, image_id=1, category_id=2, bbox=[1.0, 2.0, 3.0, 4.0], score=0.5, area=50.0, iscrowd=0)],
)


def changed(key, value):
    other = copy.deepcopy(FOUND)
    other['annotations'][0][key] = value
    return other


@pytest.mark.parametrize(
    ('key', 'close', 'far'),
    [
        ('bbox', [1.0, 2.05, 3.0, 4.0], [1.0, 2.2, 3.0, 4.0]),
        ('score', 0.5005, 0.502),
        ('area', 50.5, 52.0),
        ('category_id', 2, 1),
    ],
)
def test_rounding_is_allowed_and_no_more(key, close, far):
    assert agrees(FOUND, FOUND) and agrees(changed(key, close), FOUND)
    assert not agrees(changed(key, far), FOUND)


def test_other_objects_and_images():
    assert not agrees(FOUND | dict(annotations=[]), FOUND)
    assert not agrees(FOUND, FOUND | dict(annotations=[]))
    assert not agrees(FOUND | dict(images=[FOUND['images'][0] | dict(width=8)]), FOUND)


def test_share_of_broken_requests():
    good, broken = [Ask(b'a', 200), Ask(b'b', 200)], [Ask(b'c', 422), Ask(b'd', 413)]
    asks = requests(good, broken, 100, 0.1)
    assert [sum(ask.body == body for ask in asks) for body in (b'a', b'b', b'c', b'd')] == [45, 45, 5, 5]
    assert asks == requests(good, broken, 100, 0.1) and asks[:10] != sorted(asks[:10], key=lambda ask: ask.body)


class Handler(BaseHTTPRequestHandler):
    """Does what the body says."""

    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        word = self.rfile.read(int(self.headers['Content-Length'])).decode()
        if word == 'hang up':
            self.close_connection = True
            return
        found = dict(right=FOUND, close=changed('score', 0.5004), other=changed('category_id', 1))
        body = json.dumps(found.get(word, dict(error='one\ntwo' if word == 'two lines' else 'no'))).encode()
        self.send_response(200 if word in found else 422)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def test_what_became_of_each_request():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stand_in = SimpleNamespace(
        connect=lambda: HTTPConnection(*server.server_address, timeout=60), megabytes=lambda: 7.0
    )
    right, words = ('right', 'close', 'other', 'hang up', 'refused'), ('refused', 'two lines', 'right')
    asks = [Ask(word.encode(), 200, FOUND) for word in right] + [Ask(word.encode(), 422) for word in words]
    try:
        outcome, memory, _ = load(stand_in, [*asks, Ask(b'right', 0)], clients=3)
    finally:
        server.shutdown()
        server.server_close()
    assert (len(outcome.seconds), outcome.identical, len(outcome.refused_seconds), outcome.left) == (2, 1, 1, 1)
    assert sorted(line.split(',')[0].split(':')[0] for line in outcome.wrong) == [
        'no line of error',
        'other predictions',
        'status 200',
        'status 422',
    ]
    assert len(outcome.lost) == 1 and outcome.lost[0].startswith('200 expected: RemoteDisconnected')
    assert set(memory) == {7.0}


class Fork:
    """In place of ``subprocess.Popen``: a command in a fork, which has imported what it imports."""

    def __init__(self, command, stdout, text):
        reading, writing = os.pipe()
        arguments = (command[3:], writing)  # after python -m mmcnv2
        self._process = multiprocessing.get_context('fork').Process(target=self._run, args=arguments)
        self._process.start()
        os.close(writing)
        self.stdout, self.pid = os.fdopen(reading), self._process.pid

    @staticmethod
    def _run(arguments, writing):
        sys.stdout = os.fdopen(writing, 'w')
        run_command(arguments[0], arguments[1:])

    def terminate(self):
        self._process.terminate()

    def wait(self):
        self._process.join(120)
        return self._process.exitcode


@pytest.mark.slow
def test_a_real_server(toy_scenes, tmp_path, monkeypatch, capsys):
    """Each of the eight kinds of broken requests once, and sixteen images."""
    cfg, checkpoint = recipe_with_weights('toy/upernet_convnextv2-atto_toy-scenes', tmp_path)
    cfg.dump(tmp_path / 'mine.py')
    monkeypatch.delenv('MMCNV2_SERVE_TOKEN', raising=False)
    monkeypatch.setattr(subprocess, 'Popen', Fork)
    arguments = ('--images', toy_scenes / 'val', '--requests', 24, '--broken', 1 / 3, '--json', tmp_path / 'a.json')
    call('benchmark-serve', tmp_path / 'mine.py', checkpoint, *arguments, '--clients', 6, '--max-batch', 3)
    (row,) = json.loads((tmp_path / 'a.json').read_text())['rows']
    assert (row['right'], row['refused'], row['left'], row['wrong'], row['lost']) == (16, 7, 1, 0, 0)
    assert 1 <= row['images a batch'] <= 3 and len(row['memory after each tenth (MB)'].split()) >= 11
    assert 0 < row['p50 (ms)'] <= row['p95 (ms)']
    assert capsys.readouterr().err == ''


@pytest.mark.slow
def test_what_cannot_be_measured(toy_scenes, tmp_path):
    cfg, checkpoint = recipe_with_weights('toy/fcmae_convnextv2-atto_toy-scenes', tmp_path)
    cfg.dump(tmp_path / 'mine.py')
    images = ('--images', toy_scenes / 'val')
    assert '--broken must be from 0' in refusal('benchmark-serve', 'a', *images, '--broken', 1)
    assert '--requests must be positive' in refusal('benchmark-serve', 'a', *images, '--requests', 0)
    assert 'FCMAE gives no JSON' in refusal('benchmark-serve', tmp_path / 'mine.py', checkpoint, *images)
