"""What ``/metrics`` tells, in Prometheus' format."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

MEDIA_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts of one server.

    Attributes:
        requests: By ``path`` and ``status``; 499 of clients that went away.
        open_requests: Images that were accepted and are not answered yet.
        seconds: From the head of a request to the end of its answer, by ``path``.
        batch_sizes: Images that the model computed at once.
        model_seconds: Of each batch, the model alone: without reading the images and writing the answers.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter('mmcnv2_requests', 'Answered requests', ('path', 'status'), registry=self._registry)
        self.open_requests = Gauge(
            'mmcnv2_open_requests', 'Images accepted and not answered yet', registry=self._registry
        )
        self.seconds = Histogram(
            'mmcnv2_request_seconds', 'Request to answer', ('path',), buckets=_SECONDS, registry=self._registry
        )
        self.batch_sizes = Histogram(
            'mmcnv2_batch_size', 'Images computed at once', buckets=_SIZES, registry=self._registry
        )
        self.model_seconds = Histogram(
            'mmcnv2_model_seconds', 'The model alone, of a batch', buckets=_SECONDS, registry=self._registry
        )
        self._waiting = Gauge('mmcnv2_waiting_images', 'Images that no batch has taken', registry=self._registry)
        ProcessCollector(registry=self._registry)  # memory, processor time, open files

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Set what tells how many images wait."""
        self._waiting.set_function(length)

    def text(self) -> bytes:
        """Return all of it."""
        return generate_latest(self._registry)
