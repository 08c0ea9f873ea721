"""The server of the page: on this machine, without a request to another, and nothing stays behind."""

import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from PIL import Image

from mmcnv2.toy_scenes import render_scene
from mmcnv2.utils.errors import InputError, MissingPackageError
from mmcnv2.utils.listening import listen, url_of

from .models import Models

_LARGEST_FILE = '100mb'
_NUM_EXAMPLES = 5
# What gradio's page loads from other hosts: fonts, and a script for pages that embed it.
_OTHER_HOSTS = re.compile(rb'<(?:link|meta)\b[^>]*https?://[^>]*>|<script\b[^>]*\bsrc="https?://[^>]*>\s*</script>')
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:"
)


def serve(models: Models, host: str, port: int) -> None:
    """Serve the page until the process is told to stop (Ctrl-C, SIGTERM).

    Uploads and pictures are in a temporary folder that is deleted then, and each of them an hour after it was made.

    Args:
        models: What there are tabs for.
        host: Address to listen on.
        port: Port to listen on; 0: one that is free.

    Raises:
        InputError: The port is in use, or the address is not of this machine.
        MissingPackageError: gradio is not installed.
    """
    listening = listen(host, port)
    url = url_of(listening)
    # uvicorn gives the signal back when it has stopped; by default it would end the process before the folder is gone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with listening, tempfile.TemporaryDirectory(prefix='mmcnv2-demo-', ignore_cleanup_errors=True) as folder:
        # gradio reads them when it is imported.
        os.environ |= dict(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED='False', HF_HUB_DISABLE_TELEMETRY='1')
        try:
            import gradio
            import uvicorn
        except ImportError as error:
            raise MissingPackageError('the demo needs gradio: pip install "mmcnv2[demo]"') from error
        from fastapi import FastAPI

        from .page import build_page

        page = build_page(models, _write_examples(Path(folder)))
        # As launch() does: without it, any path of this machine would be taken for an upload.
        page.has_launched = True
        gradio.processing_utils.async_ssrf_protected_download = _refuse_url
        app: Any = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.add_middleware(_OnlyThisHost)
        fonts: Any = dict(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'])
        app = gradio.mount_gradio_app(
            app,
            page,
            '/',
            allowed_paths=[],
            max_file_size=_LARGEST_FILE,
            ssr_mode=False,
            footer_links=[],
            theme=gradio.themes.Default(**fonts),
        )
        server = uvicorn.Server(uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=2))
        print(f'{url} (Ctrl-C stops it)', flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


async def _refuse_url(url: str, cache_dir: str) -> str:
    """Stand in for gradio's download of an "upload" that is an address."""
    raise InputError(f'{url} is an address: upload a file')


def _write_examples(folder: Path) -> list[Path]:
    paths = [folder / f'examples/scene_{i}.png' for i in range(_NUM_EXAMPLES)]
    paths[0].parent.mkdir()
    for i, path in enumerate(paths):
        Image.fromarray(render_scene(i, 'val').image).save(path)
    return paths


class _OnlyThisHost:
    """Middleware that keeps the page from loading anything from another host.

    The policy forbids it to the browser; what would still be looked up (``preconnect``) is taken out of the page.

    Args:
        app: What answers.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Answer a request, see ASGI."""
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        is_page = scope['path'] == '/'
        if is_page:  # as it is, to be read here
            scope = dict(scope, headers=[(key, value) for key, value in scope['headers'] if key != b'accept-encoding'])
        start: dict[str, Any] = {}
        body = b''

        async def pass_on(message: dict[str, Any]) -> None:
            nonlocal start, body
            if message['type'] == 'http.response.start':
                message['headers'] = [*message['headers'], (b'content-security-policy', _POLICY.encode())]
                start = message
                if is_page:
                    return
            elif is_page and message['type'] == 'http.response.body':
                body += message.get('body', b'')
                if message.get('more_body'):
                    return
                body = _OTHER_HOSTS.sub(b'', body)
                kept = [(key, value) for key, value in start['headers'] if key != b'content-length']
                start['headers'] = [*kept, (b'content-length', str(len(body)).encode())]
                await send(start)
                message = dict(type='http.response.body', body=body)
            await send(message)

        await self._app(scope, receive, pass_on)
