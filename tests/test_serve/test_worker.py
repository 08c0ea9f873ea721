"""The thread that owns the model, with a stand-in that notes what it is given, and with real models."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.recipes import recipe_with_weights
from PIL import Image

from mmcnv2.apis import Predictor
from mmcnv2.inference.tasks import Given
from mmcnv2.serve.metrics import Metrics
from mmcnv2.serve.worker import Job, PredictionFailed, Worker, WorkerDied
from mmcnv2.utils.errors import InputError

RECIPES = dict(detector='mask-rcnn', segmenter='upernet', fcmae='fcmae')


class StandIn:
    """A task that 'reads' numbers, and 'predicts' them; 0 breaks the model, 255 ends its thread.

    It computes nothing before ``go`` is set, so that what is sent until then waits.
    """

    def __init__(self):
        self.batches, self.thresholds, self.paths = [], [], set()
        self.go, self.score_threshold = threading.Event(), None

    def read(self, path):
        assert self.go.wait(30)
        self.paths.add(path)
        number = int(Path(path).read_text())  # ValueError: a reader with a fault
        if number == 1:
            raise InputError(f'{path!r} has bands that are not there')
        return np.full((4, 4, 3), number)

    def prepare(self, given):
        given.prepared = int(given.pixels[0, 0, 0])

    def shape(self, given: Given):
        return (given.prepared // 100,)

    def predict(self, batch):
        numbers = [given.prepared for given in batch]
        self.batches.append(numbers)
        self.thresholds.append(self.score_threshold)
        if 0 in numbers:
            raise RuntimeError('shapes cannot be multiplied')
        if 255 in numbers:
            raise SystemExit
        return numbers


@pytest.fixture
def started(tmp_path):
    """A function that starts a worker on a task; at the end all of them have stopped."""
    workers = []

    def start(task, **settings):
        settings = dict(max_batch=4, max_wait=0) | settings
        worker = Worker(SimpleNamespace(task=task), Metrics(), tmp_path, **settings)
        worker.start()
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        if hasattr(worker._task, 'go'):
            worker._task.go.set()
        worker.stop(30)
        assert not worker.is_alive()
    assert list(tmp_path.iterdir()) == []  # no image stays, whatever happened


def send(worker, *numbers, size=(4, 4), threshold=None):
    jobs = [Job(str(number).encode(), size, threshold, lambda result: result) for number in numbers]
    for job in jobs:
        worker.submit(job)
    return [job.answer for job in jobs]


def hold(worker):
    """Let the model be busy with an image until ``go`` is set, so that others wait."""
    (answer,) = send(worker, 99)
    while worker._waiting:
        threading.Event().wait(0.001)
    return answer


def test_batches_have_one_size_and_one_threshold_and_the_oldest_is_first(started):
    task = StandIn()
    worker = started(task)
    hold(worker)
    answers = [*send(worker, 10), *send(worker, 20, size=(8, 8)), *send(worker, 11, 12, 13, 14)]
    answers += [*send(worker, 30, threshold=0.5), *send(worker, 21, size=(8, 8)), *send(worker, 31, threshold=0.5)]
    task.go.set()
    assert [answer.result(30) for answer in answers] == [10, 20, 11, 12, 13, 14, 30, 21, 31]
    assert task.batches == [[99], [10, 11, 12, 13], [20, 21], [14], [30, 31]]
    assert task.thresholds == [None] * 4 + [0.5]


def test_images_of_one_size_in_files_that_differ_when_prepared(started):
    """EXIF orientation turns one of them."""
    task = StandIn()
    worker = started(task)
    hold(worker)
    answers = send(worker, 10, 110, 11)
    task.go.set()
    assert [answer.result(30) for answer in answers] == [10, 110, 11]
    assert task.batches == [[99], [10, 11], [110]]


def test_an_image_waits_for_others(started):
    """Four come before the time is over: one batch."""
    task = StandIn()
    task.go.set()
    worker = started(task, max_wait=600)
    assert [answer.result(30) for answer in send(worker, 10, 11, 12, 13)] == [10, 11, 12, 13]
    assert task.batches == [[10, 11, 12, 13]]


def test_errors_cost_the_image_that_caused_them(started, caplog):
    task = StandIn()
    worker = started(task, max_batch=6)
    hold(worker)
    good, broken, other, unreadable, fault = send(worker, 10, 0, 11, 1, 'x')
    task.go.set()
    assert (good.result(30), other.result(30)) == (10, 11)
    with pytest.raises(PredictionFailed, match=r'^the image could not be predicted \(RuntimeError\); the log'):
        broken.result(30)
    with pytest.raises(InputError, match=r'^the image has bands that are not there$'):  # no path of this machine
        unreadable.result(30)
    with pytest.raises(PredictionFailed, match='ValueError'):
        fault.result(30)
    assert task.batches[1:] == [[10, 0, 11], [10], [0], [11]]
    assert 'shapes cannot be multiplied' in caplog.text and 'Traceback' in caplog.text
    text = worker._metrics.text().decode()
    assert 'mmcnv2_batch_size_sum 3.0' in text and 'mmcnv2_model_seconds_count 3.0' in text  # 99, 10, 11


def test_an_answer_that_cannot_be_made_costs_its_image(started):
    task = StandIn()
    task.go.set()
    worker = started(task)
    job = Job(b'10', (4, 4), None, lambda result: 1 / 0)
    worker.submit(job)
    with pytest.raises(PredictionFailed, match='ZeroDivisionError'):
        job.answer.result(30)
    assert send(worker, 11)[0].result(30) == 11


def test_who_has_left_costs_nothing(started):
    task = StandIn()
    worker = started(task)
    hold(worker)
    stays, leaves = send(worker, 10, 11)
    assert leaves.cancel()
    task.go.set()
    assert stays.result(30) == 10
    assert task.batches == [[99], [10]]


def test_stopping_answers_what_waits_and_takes_nothing_more(started):
    task = StandIn()
    worker = started(task, max_wait=600)
    answers = send(worker, 10, 20)
    task.go.set()
    worker.stop(30)
    assert [answer.result(0) for answer in answers] == [10, 20]
    with pytest.raises(WorkerDied):
        send(worker, 30)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_nobody_waits_for_a_thread_that_has_died(started):
    task = StandIn()
    worker = started(task, max_batch=1)
    first, second = send(worker, 255, 10)
    task.go.set()
    for answer in (first, second):
        with pytest.raises(WorkerDied):
            answer.result(30)
    worker.join(30)
    with pytest.raises(WorkerDied):
        send(worker, 11)


@pytest.mark.slow
@pytest.mark.parametrize('kind', RECIPES)
def test_batches_are_as_predictor_one_by_one(started, toy_scenes, tmp_path_factory, kind):
    """Of two sizes, as JPEG, PNG with an orientation, grey and 16 bits."""
    folder = tmp_path_factory.mktemp(kind)
    few = {'model.test_cfg.rcnn.max_per_img': 10} if kind == 'detector' else {}
    cfg, checkpoint = recipe_with_weights(f'toy/{RECIPES[kind]}_convnextv2-atto_toy-scenes', folder, **few)
    scenes = [Image.open(path) for path in sorted((toy_scenes / 'val').glob('*.jpg'))]
    scenes[0].save(folder / '0.jpg')
    scenes[1].save(folder / '1.png')
    scenes[1].crop((0, 0, 96, 64)).save(folder / '2.png')
    exif = Image.Exif()
    exif[0x0112] = 6
    scenes[2].crop((0, 0, 96, 64)).save(folder / '3.png', exif=exif)
    scenes[2].convert('L').save(folder / '4.png')
    Image.fromarray(np.asarray(scenes[3].convert('L')).astype(np.uint16) * 257).save(folder / '5.png')
    paths = sorted(folder.glob('[0-9].*'))
    predictor = Predictor(cfg, checkpoint)
    expected = [next(predictor(str(path))) for path in paths]
    threshold = getattr(predictor.task, 'score_threshold', None)
    sizes = [(64, 96) if path.stem in '23' else (128, 128) for path in paths]
    jobs = [
        Job(path.read_bytes(), size, threshold, lambda result: result) for path, size in zip(paths, sizes, strict=True)
    ]
    worker = started(predictor.task, max_batch=4, max_wait=600)
    for job in jobs[:2] + jobs[4:] + jobs[2:4]:
        worker.submit(job)
    worker.stop(60)
    for job, wanted in zip(jobs, expected, strict=True):
        found = job.answer.result(0)
        assert (found.image == wanted.image).all() and found.path is None
        if kind == 'detector':
            assert len(found.labels) and (found.labels == wanted.labels).all()
            np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
            np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3)
            assert (found.masks != wanted.masks).mean() < 1e-3
        elif kind == 'segmenter':
            assert (found.label_map != wanted.label_map).mean() < 1e-3
        else:
            assert np.abs(found.reconstruction.astype(int) - wanted.reconstruction).max() <= 1
    sizes = worker._metrics.text().decode()
    assert 'mmcnv2_batch_size_sum 6.0' in sizes and 'mmcnv2_batch_size_count 3.0' in sizes
