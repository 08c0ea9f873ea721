"""Many clients, some of them broken, against ``mmcnv2 serve``: whether every answer is right, and when it came.

The help of ``mmcnv2 benchmark-serve`` says what is measured.
"""

import contextlib
import http.client
import io
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmcnv2.inference import Predictor
from mmcnv2.inference.sources import find_items
from mmcnv2.inference.writing import coco_of_image
from mmcnv2.utils.errors import InputError

from .measure import Table, environment

TIMEOUT = 300  # seconds until an answer counts as lost
_LEAVES = 0  # the status of a client that does not wait for its answer
_KEYS = ('info', 'categories', 'images')
_BOX, _SCORE, _AREA = 0.1, 1e-3, 0.02  # pixels, score, share of the area: what batches may change by rounding


@dataclass(frozen=True)
class Ask:
    """A request and what it must get.

    Attributes:
        body: Content.
        status: Of the answer.
        expected: The JSON that must come with status 200.
        kind: ``Content-Type``.
        query: After the path.
    """

    body: bytes
    status: int
    expected: dict[str, Any] | None = None
    kind: str = 'application/octet-stream'
    query: str = ''


@dataclass
class Outcome:
    """What became of the requests of a load.

    Attributes:
        seconds: Of right answers with a prediction.
        refused_seconds: Of broken requests that were refused as they should be.
        identical: Predictions that are the same to the last bit.
        left: Clients that did not wait.
        wrong: Of each wrong answer, what is wrong with it.
        lost: Errors in place of an answer.
    """

    seconds: list[float]
    refused_seconds: list[float]
    identical: int
    left: int
    wrong: list[str]
    lost: list[str]


# ---- requests ----


def good_requests(predictor: Predictor, source: str) -> tuple[list[Ask], float]:
    """Return a request for each image of a folder, and the median seconds that ``Predictor`` takes for one.

    Raises:
        InputError: The model writes no JSON.
    """
    if 'json' not in predictor.task.writes:
        raise InputError(f'{type(predictor.model).__name__} gives no JSON, by which answers are compared')
    asks, seconds = [], []
    for item in find_items(source):
        assert item.path is not None
        start = time.perf_counter()
        (result,) = predictor(item.path)
        seconds.append(time.perf_counter() - start)
        expected = json.loads(json.dumps(coco_of_image(result, 'image', {})))
        asks.append(Ask(Path(item.path).read_bytes(), 200, expected))
    return asks, statistics.median(seconds)


def broken_requests(image: bytes, max_bytes: int) -> list[Ask]:
    """Return requests that must be refused, each in its way, and one of a client that does not wait."""
    with Image.open(io.BytesIO(image)) as opened:
        picture = opened.convert('RGB')
    cut, bomb = io.BytesIO(), io.BytesIO()
    picture.save(cut, 'JPEG')
    Image.new('1', (30_000, 30_000)).save(bomb, 'PNG')
    return [
        Ask(cut.getvalue()[: len(cut.getvalue()) // 3], 422),
        Ask(b'no image', 422),
        Ask(b'', 422),
        Ask(bomb.getvalue(), 413),
        Ask(bytes(max_bytes + 1), 413),
        Ask(image, 415, kind='text/plain'),
        Ask(image, 400, query='?no_such=1'),
        Ask(image, _LEAVES),
    ]


def requests(good: Sequence[Ask], broken: Sequence[Ask], count: int, share: float) -> list[Ask]:
    """Return ``count`` requests in random order, this share of them broken, of each kind alike."""
    num_broken = round(count * share)
    asks = [*itertools.islice(itertools.cycle(broken), num_broken)]
    asks += itertools.islice(itertools.cycle(good), count - num_broken)
    return [asks[i] for i in np.random.default_rng(0).permutation(count)]


def agrees(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Return whether two predictions are the same but for rounding, which differs between batches."""
    if any(found[key] != expected[key] for key in _KEYS) or len(found['annotations']) != len(expected['annotations']):
        return False
    for one, other in zip(found['annotations'], expected['annotations'], strict=True):
        if one.keys() != other.keys() or one['category_id'] != other['category_id']:
            return False
        if not np.allclose(one.get('bbox', []), other.get('bbox', []), atol=_BOX):
            return False
        if abs(one.get('score', 0) - other.get('score', 0)) > _SCORE:
            return False
        if abs(one.get('area', 0) - other.get('area', 0)) > _AREA * other.get('area', 0):
            return False
    return True


# ---- the server and its clients ----


class ServerProcess:
    """``mmcnv2 serve`` in a process of its own.

    Args:
        arguments: Of the command.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        command = [sys.executable, '-m', 'mmcnv2', 'serve', *arguments, '--port', '0']
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = (re.search(r'http://([^/]+):(\d+)/docs', line) for line in self.process.stdout)
        address = next(filter(None, found), None)
        if address is None:
            raise InputError(f'mmcnv2 serve ended with exit code {self.process.wait()} (its message is above)')
        self.host, self.port = address[1], int(address[2])

    def __enter__(self) -> 'ServerProcess':
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        self.process.wait()

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is not open yet."""
        return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)

    def metrics(self) -> dict[str, float]:
        """Return what ``/metrics`` says, by name and labels."""
        with contextlib.closing(self.connect()) as connection:
            connection.request('GET', '/metrics')
            lines = connection.getresponse().read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(' ', 1) for line in lines if line[0] != '#')}

    def megabytes(self) -> float:
        """Return the memory of the process that is resident."""
        pages = int(Path(f'/proc/{self.process.pid}/statm').read_text().split()[1])
        return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def load(server: ServerProcess, asks: Sequence[Ask], clients: int) -> tuple[Outcome, list[float], float]:
    """Send requests from several clients at a time, each with a connection that it keeps.

    Returns:
        What became of them, megabytes of the server after each tenth of them, and seconds in all.
    """
    outcome = Outcome([], [], 0, 0, [], [])
    memory: list[float] = []
    numbers, lock = itertools.count(), threading.Lock()

    def client() -> None:
        connection = server.connect()
        while (number := next(numbers)) < len(asks):
            if number % max(len(asks) // 10, 1) == 0:
                memory.append(server.megabytes())
            connection = _send(connection, server, asks[number], outcome, lock)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    memory.append(server.megabytes())
    return outcome, memory, time.perf_counter() - start


def _send(
    connection: http.client.HTTPConnection, server: ServerProcess, ask: Ask, outcome: Outcome, lock: threading.Lock
) -> http.client.HTTPConnection:
    """Send a request, note what it got, and return a connection for the next."""
    start = time.perf_counter()
    try:
        connection.request('POST', f'/predict{ask.query}', ask.body, {'Content-Type': ask.kind})
        if ask.status == _LEAVES:
            connection.close()
            with lock:
                outcome.left += 1
            return server.connect()
        answer = connection.getresponse()
        content = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        connection.close()
        with lock:
            outcome.lost.append(f'{ask.status} expected: {type(error).__name__}: {error}')
        return server.connect()
    seconds = time.perf_counter() - start
    with lock:
        if answer.status != ask.status:
            outcome.wrong.append(f'status {answer.status}, {ask.status} expected: {str(content)[:200]}')
        elif ask.expected is None:
            if list(content) == ['error'] and '\n' not in content['error']:
                outcome.refused_seconds.append(seconds)
            else:
                outcome.wrong.append(f'no line of error: {content}')
        elif agrees(content, ask.expected):
            outcome.seconds.append(seconds)
            outcome.identical += content == ask.expected
        else:
            outcome.wrong.append(f'other predictions: {str(content)[:200]}')
    return connection


# ---- measuring ----


def benchmark(
    predictor: Predictor,
    model: Sequence[str],
    source: str,
    clients: Sequence[int],
    num_requests: int,
    share: float,
    options: Sequence[str] = (),
    json: str | None = None,
) -> bool:
    """Print a table with a row for each number of clients, and what was wrong.

    Args:
        predictor: The model; it tells what is right.
        model: The same as arguments of ``mmcnv2 serve``.
        source: Folder of images.
        clients: How many at a time, one load after the other, on one server.
        num_requests: Of each load.
        share: Of broken requests.
        options: More arguments of ``mmcnv2 serve``.
        json: File to write rows and environment to.

    Returns:
        Whether nothing was lost or wrong.
    """
    good, alone = good_requests(predictor, source)
    max_megabytes = 5
    broken = broken_requests(good[0].body, int(max_megabytes * 1e6))
    about = dict(
        environment=environment(str(predictor.device)), images=len(good), predictor=f'{1000 * alone:.1f} ms an image'
    )
    columns = [
        *('clients', 'right', 'refused', 'left', 'wrong', 'lost', 'same bits', 'images/s', 'p50 (ms)', 'p95 (ms)'),
        *('refused p50 (ms)', 'images a batch', 'model (ms/image)', 'memory after each tenth (MB)'),
    ]
    is_right = True
    with ServerProcess([*model, '--max-mb', str(max_megabytes), *options]) as server:
        table = Table(columns, json, **about)
        for count in clients:
            asks = requests(good, broken, num_requests, share)
            before = server.metrics()
            outcome, memory, seconds = load(server, asks, count)
            changes = _changes(before, server.metrics())
            images = changes['mmcnv2_batch_size_sum']
            table.add(
                clients=count,
                right=len(outcome.seconds),
                refused=len(outcome.refused_seconds),
                left=outcome.left,
                wrong=len(outcome.wrong),
                lost=len(outcome.lost),
                **{
                    'same bits': outcome.identical,
                    'images/s': len(outcome.seconds) / seconds,
                    'p50 (ms)': _percentile(outcome.seconds, 50),
                    'p95 (ms)': _percentile(outcome.seconds, 95),
                    'refused p50 (ms)': _percentile(outcome.refused_seconds, 50),
                    'images a batch': images / changes['mmcnv2_batch_size_count'],
                    'model (ms/image)': 1000 * changes['mmcnv2_model_seconds_sum'] / images,
                    'memory after each tenth (MB)': ' '.join(f'{value:.0f}' for value in memory),
                },
            )
            for line in _first([*outcome.wrong, *outcome.lost, *_miscounted(changes, outcome)]):
                print(line, file=sys.stderr)
                is_right = False
    return is_right


def _changes(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0) for name, value in after.items()}


def _miscounted(changes: dict[str, float], outcome: Outcome) -> list[str]:
    """Return what ``/metrics`` counted otherwise than the clients."""
    counted = changes.get('mmcnv2_requests_total{path="/predict",status="200"}', 0)
    # Of those that left, some were answered before they were gone.
    if not len(outcome.seconds) <= counted <= len(outcome.seconds) + outcome.left:
        return [f'/metrics counts {counted:.0f} answers with status 200, the clients {len(outcome.seconds)}']
    return []


def _first(lines: Sequence[str], most: int = 5) -> Iterator[str]:
    yield from lines[:most]
    if len(lines) > most:
        yield f'... {len(lines) - most} more'


def _percentile(seconds: Sequence[float], share: float) -> float:
    return 1000 * float(np.percentile(seconds, share)) if seconds else float('nan')
