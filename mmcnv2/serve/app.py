"""The paths of the server: what is asked, and what each answer means."""

import asyncio
import functools
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect

from mmcnv2.inference import Predictor
from mmcnv2.utils.errors import InputError
from mmcnv2.version import __version__

from .answers import Answer, answer_of, formats_of
from .metrics import MEDIA_TYPE, Metrics
from .page import page
from .schemas import BODY, ERRORS, Health, Parameters, Predictions
from .settings import Settings
from .uploads import checked_size, read_upload
from .worker import Job, PredictionFailed, Worker, WorkerDied

_CLIENT_LEFT = 499  # as nginx counts them; nobody receives it
_POLICY = {'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'"}
_BEARER = HTTPBearer(auto_error=False, description='The token of the server, if one is set')


def build_app(predictor: Predictor, worker: Worker, settings: Settings, metrics: Metrics) -> FastAPI:
    """Return the application.

    Args:
        predictor: The model; only its description is used here.
        worker: What predicts with it, started.
        settings: Limits and token.
        metrics: Where requests are counted.
    """
    formats, task = formats_of(predictor.task), predictor.task
    default_threshold: float | None = getattr(task, 'score_threshold', None)
    kind = type(predictor.model).__name__
    slots = asyncio.Semaphore(settings.max_requests)
    app = FastAPI(
        title='mmcnv2 serve',
        version=__version__,
        description=f'{kind}: POST an image, get what the model finds in it as {", ".join(formats)}.',
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.add_middleware(_Counted, metrics=metrics, paths={'/predict', '/health', '/metrics', '/docs', '/openapi.json'})
    app.add_exception_handler(AnyHTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _parameter_error)
    app.add_exception_handler(Exception, _program_error)

    def check_token(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        if settings.token is None:
            return
        credentials = given.credentials if given else ''
        if not hmac.compare_digest(credentials.encode(), settings.token.encode()):
            raise HTTPException(
                401, 'a header "Authorization: Bearer TOKEN" is needed', headers={'WWW-Authenticate': 'Bearer'}
            )

    @app.post(
        '/predict',
        dependencies=[Depends(check_token)],
        openapi_extra=BODY,
        responses={200: {'model': Predictions, 'content': {'image/png': {}}}, **ERRORS},
    )
    async def predict(request: Request, parameters: Annotated[Parameters, Query()]) -> Response:
        """Predict one image: the file as body, or as the one file of a form."""
        format = parameters.format or formats[0]
        if format not in formats:
            raise HTTPException(400, f'format={format}: {kind} gives {", ".join(formats)}')
        threshold = parameters.score_threshold
        if threshold is not None and default_threshold is None:
            raise HTTPException(400, f'score_threshold: {kind} is no detector')
        if slots.locked():
            raise HTTPException(
                503, f'{settings.max_requests} requests are being answered: try again', headers={'Retry-After': '1'}
            )
        async with slots:
            with metrics.open_requests.track_inprogress():
                name, data = await read_upload(request, settings)
                size = await run_in_threadpool(checked_size, data, settings.max_pixels)
                finish = functools.partial(answer_of, format=format, name=name, first_label=task.first_label)
                job = Job(data, size, default_threshold if threshold is None else threshold, finish)
                del data  # the job forgets it once it is decoded
                answer = await _answer(job, worker, request)
        return Response(answer.body, media_type=answer.media_type)

    @app.get('/health', responses={503: ERRORS[503]})
    async def health() -> Health:
        """Tell whether images are predicted."""
        if not worker.is_alive():
            raise HTTPException(503, 'the model has stopped: restart the server')
        return Health(status='ready', model=kind)

    @app.get(
        '/metrics',
        dependencies=[Depends(check_token)],
        response_class=Response,
        responses={200: {'content': {'text/plain': {}}}, 401: ERRORS[401]},
    )
    async def show_metrics() -> Response:
        """Tell requests, times and batches in the format of Prometheus."""
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    @app.get('/docs', include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()), headers=_POLICY)

    return app


async def _answer(job: Job, worker: Worker, request: Request) -> Answer:
    """Wait for an answer, as long as there is a client that waits for it.

    Raises:
        HTTPException: There is none.
    """
    try:
        worker.submit(job)
        answer = asyncio.wrap_future(job.answer)
        left = asyncio.ensure_future(request.receive())  # the body was read: all that comes is the client's end
        try:
            await asyncio.wait((answer, left), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientDisconnect
            return answer.result()
        finally:
            left.cancel()
            answer.cancel()  # before its batch, it then costs nothing more
    except InputError as error:
        raise HTTPException(422, str(error)) from error
    except PredictionFailed as error:
        raise HTTPException(500, str(error)) from error
    except WorkerDied as error:
        raise HTTPException(503, 'the model has stopped: the server must be restarted') from error


class _Counted:
    """Middleware that counts every answer.

    Args:
        app: What answers.
        metrics: Where it is counted.
        paths: Those that are counted by name; others together, since anybody can invent them.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], metrics: Metrics, paths: set[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Answer a request, see ASGI."""
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        path = scope['path'] if scope['path'] in self._paths else 'other'
        status, start = 500, time.perf_counter()

        async def note(message: dict[str, Any]) -> None:
            nonlocal status
            if message['type'] == 'http.response.start':
                status = message['status']
            await send(message)

        try:
            await self._app(scope, receive, note)
        except ClientDisconnect:
            status = _CLIENT_LEFT
        finally:
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - start)


def _error(status: int, message: str, headers: Any = None) -> JSONResponse:
    return JSONResponse(dict(error=' '.join(message.split())), status, headers)


async def _http_error(request: Request, error: Any) -> JSONResponse:
    return _error(error.status_code, error.detail, error.headers)


async def _parameter_error(request: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    name = str(first['loc'][-1])
    known = ', '.join(Parameters.model_fields)
    if first['type'] == 'extra_forbidden':
        return _error(400, f'there is no parameter {name!r}, only {known}')
    return _error(400, f'{name}={str(first["input"])[:100]}: {first["msg"]}')


async def _program_error(request: Request, error: Exception) -> JSONResponse:
    return _error(500, f'{type(error).__name__}: an error of the server; its log says more')
