"""The process: it listens, answers until it is told to stop, and then answers what it has accepted."""

import signal
import sys
import tempfile
from pathlib import Path

from mmcnv2.inference import Predictor
from mmcnv2.utils.errors import MissingPackageError
from mmcnv2.utils.listening import listen, url_of

from .settings import TOKEN_VARIABLE, Settings

_LOCAL = ('127.0.0.1', '::1', 'localhost')
_CLOSING_SECONDS = 5.0  # for the batch that is computed when the time to drain is over


def serve(predictor: Predictor, host: str, port: int, settings: Settings) -> None:
    """Answer requests until the process is told to stop (Ctrl-C, SIGTERM), then those that were accepted.

    The process ends with exit code 0 after a signal.

    Args:
        predictor: The model.
        host: Address to listen on.
        port: Port to listen on; 0: one that is free.
        settings: Limits and batching.

    Raises:
        InputError: The port is in use, or the address is not of this machine.
        MissingPackageError: FastAPI, uvicorn or prometheus-client is not installed.
    """
    try:
        import uvicorn

        from .app import build_app
        from .metrics import Metrics
    except ImportError as error:
        raise MissingPackageError(f'the server needs {error.name}: pip install "mmcnv2[serve]"') from error
    from .worker import Worker

    listening = listen(host, port)
    # uvicorn gives the signal back when it has stopped; by default it would end the process before the folder is gone.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    metrics = Metrics()
    with listening, tempfile.TemporaryDirectory(prefix='mmcnv2-serve-', ignore_cleanup_errors=True) as folder:
        worker = Worker(predictor, metrics, Path(folder), settings.max_batch, settings.max_wait)
        worker.start()
        app = build_app(predictor, worker, settings, metrics)
        # h11, which comes with uvicorn: it reads what is left of a body after an early answer, so that this arrives.
        config = uvicorn.Config(
            app,
            http='h11',
            ws='none',
            lifespan='off',
            log_level='warning',
            timeout_graceful_shutdown=settings.drain_seconds,
        )
        if host not in _LOCAL and settings.token is None:
            print(
                f'warning: --host {host} lets others in without a token: set {TOKEN_VARIABLE} or --token-file',
                file=sys.stderr,
            )
        print(f'{url_of(listening)}/docs (POST images to /predict; Ctrl-C stops it)', flush=True)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            worker.stop(_CLOSING_SECONDS)
