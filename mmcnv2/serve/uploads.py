"""The image in a request: its body is read no further than allowed, and its size looked at before it is decoded."""

import asyncio
from collections.abc import AsyncGenerator

from fastapi import HTTPException
from PIL import Image
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from mmcnv2.datasets import UnreadableImageError
from mmcnv2.datasets.bands import size_in_header

from .settings import BODY_SECONDS, BYTES_PER_PIXEL, Settings

_MULTIPART = 'multipart/form-data'
_RAW = 'application/octet-stream'


async def read_upload(request: Request, settings: Settings) -> tuple[str, bytes]:
    """Return name and content of the file that a request carries, as its body or as the one file of a form.

    Raises:
        HTTPException: 400 if the form is broken or has no or several files, 408 if the body takes too long, 413 if it
            is too large, 415 if it is said to be something else than an image.
    """
    kind = request.headers.get('content-type', _RAW).partition(';')[0].strip().lower()
    if kind not in (_MULTIPART, _RAW) and not kind.startswith('image/'):
        raise HTTPException(
            415, f'Content-Type is {kind}, expected image/... or {_RAW} with the file as body, or {_MULTIPART}'
        )
    try:
        body = await asyncio.wait_for(_read_body(request, settings.max_bytes), BODY_SECONDS)
    except asyncio.TimeoutError as error:
        raise HTTPException(
            408, f'the body did not arrive within {BODY_SECONDS:.0f} s', headers={'Connection': 'close'}
        ) from error
    return await _file_of_form(request, body) if kind == _MULTIPART else ('image', body)


async def _read_body(request: Request, most: int) -> bytes:
    too_large = HTTPException(413, f'the body has more than {most:,} bytes: make the image smaller')
    said = request.headers.get('content-length', '')
    if said.isdecimal() and int(said) > most:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():  # its length may not be said
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)


class _InMemory(MultiPartParser):
    """Starlette's parser, which writes no file to a disk."""

    spool_max_size = 0  # no limit


async def _file_of_form(request: Request, body: bytes) -> tuple[str, bytes]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await _InMemory(request.headers, stream(), max_files=1, max_fields=0).parse()
    except (MultiPartException, FormParserError) as error:  # what is too much, what is broken
        raise HTTPException(400, f'the form must hold one file and nothing else: {error}') from error
    files = [value for value in form.values() if isinstance(value, UploadFile)]
    if not files:
        raise HTTPException(400, 'the form has no file: send the image as file, in a field of any name')
    return files[0].filename or 'image', await files[0].read()


def checked_size(data: bytes, most: int) -> tuple[int, int]:
    """Return height and width of an image by its header.

    Args:
        data: The file.
        most: ``Settings.max_pixels``.

    Raises:
        HTTPException: 413 if it is too large, 422 if it is no image.
    """
    try:
        height, width, count = size_in_header(data)
    except Image.DecompressionBombError as error:
        raise HTTPException(413, f'the image has more than {most:,} pixels: make it smaller') from error
    except UnreadableImageError as error:
        raise HTTPException(422, f'the image: {error.reason}' if data else 'the image: the file is empty') from error
    if height * width > most:
        raise HTTPException(413, f'the image has {width}x{height} pixels, more than {most:,}: make it smaller')
    if count > most * BYTES_PER_PIXEL:
        raise HTTPException(
            413, f'the image has {count:,} bytes when decoded, more than {most * BYTES_PER_PIXEL:,}: make it smaller'
        )
    return height, width
