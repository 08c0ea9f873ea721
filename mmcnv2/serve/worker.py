"""The thread that owns the model: images that wait become batches, and each gets its own answer."""

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmcnv2.datasets import UnreadableImageError
from mmcnv2.inference import Predictor, Result
from mmcnv2.inference.tasks import Given
from mmcnv2.utils.errors import InputError

from .metrics import Metrics

_log = logging.getLogger(__name__)
_IMAGE = 'the image'


class WorkerDied(Exception):
    """The thread has ended: nothing will be predicted any more."""


class PredictionFailed(Exception):
    """The model, or what writes the answer, raised an error that is no fault of the image; the log has it."""


@dataclass(eq=False)
class Job:
    """An image that is to be predicted.

    Attributes:
        data: Its file.
        size: Height and width by its header; a batch has images of one size.
        threshold: Lowest score of its objects; None of models without scores. A batch has one of it.
        finish: Makes the answer of the result, in a thread of its own.
        answer: What ``finish`` returned, or an InputError that says what is wrong with the image, or one of the errors
            of this module. Cancelled before its batch is computed, it costs nothing.
    """

    data: bytes
    size: tuple[int, int]
    threshold: float | None
    finish: Callable[[Result], Any]
    answer: Future = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)

    def suits(self, other: 'Job') -> bool:
        """Return whether both may be in one batch."""
        return (self.size, self.threshold) == (other.size, other.threshold)


class Worker(threading.Thread):
    """Predicts in batches, the oldest image first, together with those that wait and suit it.

    An error in a batch is met by predicting its images one by one, so that it costs only the image that caused it.

    Args:
        predictor: The model; nobody else uses it.
        metrics: Where batches are counted.
        folder: Of this process alone. An image is written to it while it is read, since readers take paths.
        max_batch: See ``Settings``.
        max_wait: See ``Settings``.
    """

    def __init__(self, predictor: Predictor, metrics: Metrics, folder: Path, max_batch: int, max_wait: float) -> None:
        super().__init__(name='model', daemon=True)
        self._task: Any = predictor.task
        self._metrics, self._path = metrics, folder / 'image'
        self._max_batch, self._max_wait = max_batch, max_wait
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._is_open = True
        metrics.watch_queue(lambda: len(self._waiting))

    # ---- called by other threads ----

    def submit(self, job: Job) -> None:
        """Let an image wait for its turn.

        Raises:
            WorkerDied: There will be none.
        """
        with self._changed:
            if not self._is_open:
                raise WorkerDied
            self._waiting.append(job)
            self._changed.notify()

    def stop(self, seconds: float) -> None:
        """Answer what waits, take nothing more, and wait for the end of the thread, at most so long."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self.join(seconds)

    # ---- the thread ----

    def run(self) -> None:
        """Predict until told to stop."""
        finished: Future | None = None
        batch: list[Job] = []
        try:
            with ThreadPoolExecutor(1, thread_name_prefix='answers') as finisher, torch.inference_mode():
                while batch := self._take():
                    pairs = self._predict_all(batch)
                    if finished is not None:
                        finished.result()  # so that no more than two batches of results are in memory
                    finished = finisher.submit(_finish, pairs)
        finally:
            with self._changed:
                self._is_open = False
                for job in (*batch, *self._waiting):
                    with suppress(InvalidStateError):  # it has an answer, or nobody waits for one
                        job.answer.set_exception(WorkerDied())
                self._waiting.clear()

    def _take(self) -> list[Job]:
        """Wait for a batch; an empty one is the end."""
        with self._changed:
            while not self._waiting:
                if not self._is_open:
                    return []
                self._changed.wait()
            first = self._waiting[0]
            end = first.arrived + self._max_wait
            while self._is_open and len(batch := self._suiting(first)) < self._max_batch:
                if (left := end - time.monotonic()) <= 0:
                    break
                self._changed.wait(left)
            batch = self._suiting(first)
            for job in batch:
                self._waiting.remove(job)
            return batch

    def _suiting(self, first: Job) -> list[Job]:
        return [job for job in self._waiting if job.suits(first)][: self._max_batch]

    def _predict_all(self, batch: Sequence[Job]) -> list[tuple[Job, Result]]:
        """Return the results of a batch. Images that fail have their answer then."""
        groups: dict[tuple[int, ...], list[tuple[Job, Given]]] = defaultdict(list)
        for job in batch:
            if not job.answer.set_running_or_notify_cancel():
                continue  # nobody waits for it
            try:
                given = self._read(job)
            except Exception as error:
                _refuse(job, error)
            else:
                groups[self._task.shape(given)].append((job, given))  # EXIF orientation turns some
        if batch[0].threshold is not None:
            self._task.score_threshold = batch[0].threshold
        return [pair for group in groups.values() for pair in self._predict(group)]

    def _read(self, job: Job) -> Given:
        """Read an image as ``Predictor`` reads a file.

        Raises:
            InputError: It cannot be read; the message does not name the file, which is none of the client's.
        """
        path = str(self._path)
        try:
            self._path.write_bytes(job.data)
            given = Given(self._task.read(path), None)
        except UnreadableImageError as error:
            raise InputError(f'{_IMAGE}: {error.reason.replace(repr(path), _IMAGE).replace(path, _IMAGE)}') from error
        except InputError as error:
            raise InputError(str(error).replace(repr(path), _IMAGE).replace(path, _IMAGE)) from error
        finally:
            self._path.unlink(missing_ok=True)
        job.data = b''
        self._task.prepare(given)
        return given

    def _predict(self, group: Sequence[tuple[Job, Given]]) -> list[tuple[Job, Result]]:
        start = time.perf_counter()
        try:
            results = self._task.predict([given for _, given in group])
        except Exception as error:
            if len(group) == 1:
                _refuse(group[0][0], error)
                return []
            alone = []
            for job, given in group:
                self._task.prepare(given)  # the model may have changed it
                alone += self._predict([(job, given)])
            return alone
        self._metrics.model_seconds.observe(time.perf_counter() - start)
        self._metrics.batch_sizes.observe(len(group))
        return [(job, result) for (job, _), result in zip(group, results, strict=True)]


def _finish(pairs: Sequence[tuple[Job, Result]]) -> None:
    for job, result in pairs:
        try:
            job.answer.set_result(job.finish(result))
        except Exception as error:
            _refuse(job, error)


def _refuse(job: Job, error: Exception) -> None:
    """Give an error as answer: of the image as it is, of the program in the log."""
    if not isinstance(error, InputError):
        _log.error('an image could not be predicted', exc_info=error)
        error = PredictionFailed(f'{_IMAGE} could not be predicted ({type(error).__name__}); the log says more')
    job.answer.set_exception(error)
