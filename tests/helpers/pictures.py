"""Images of every kind, and videos."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

ALPHA = 100
PALETTE = [0, 0, 0, 255, 0, 0, 0, 255, 0, 12, 34, 56]

#: Formats and Pillow's modes that are read.
KINDS = [
    *(('PNG', mode) for mode in ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16')),
    *(('TIFF', mode) for mode in ('1', 'L', 'RGB', 'RGBA', 'CMYK', 'I;16')),
    *(('BMP', mode) for mode in ('1', 'L', 'P', 'RGB')),
    *(('GIF', mode) for mode in ('L', 'P')),
    *(('WEBP', mode) for mode in ('RGB', 'RGBA')),
    *(('JPEG', mode) for mode in ('L', 'RGB', 'CMYK')),
]
#: Those that are damaged, with options of Pillow.
DAMAGED = [
    *(('JPEG', 'RGB', {}), ('JPEG', 'L', {}), ('JPEG', 'CMYK', {}), ('JPEG', 'RGB', dict(progressive=True))),
    *(('PNG', 'RGB', {}), ('PNG', 'P', {}), ('PNG', 'I;16', {}), ('TIFF', 'RGB', {})),
    *(('TIFF', 'RGB', dict(compression='tiff_lzw')), ('WEBP', 'RGB', {}), ('GIF', 'P', {}), ('BMP', 'RGB', {})),
]


def picture(mode, size=(13, 7)):
    """An image of one of Pillow's modes, and what it is as RGB by definition."""
    rows, columns = np.indices(size)
    rgb = ((rows + columns + rows * columns * 7 % 64)[..., None] + np.array([0, 40, 80])).astype(np.uint8)
    grey = rgb[..., 0]
    alpha = np.full_like(grey, ALPHA)
    index = grey % 4
    if mode == '1':
        return Image.fromarray(index > 1), _grey(np.where(index > 1, 255, 0))
    if mode == 'L':
        return Image.fromarray(grey), _grey(grey)
    if mode == 'LA':
        return Image.fromarray(np.stack([grey, alpha], axis=-1)), _grey(grey)
    if mode == 'P':
        image = Image.fromarray(index, mode='P')
        image.putpalette(PALETTE)
        return image, np.array(PALETTE, dtype=np.uint8).reshape(4, 3)[index]
    if mode == 'RGBA':
        return Image.fromarray(np.dstack([rgb, alpha])), rgb
    if mode == 'CMYK':  # without black: what is left of 255
        return Image.fromarray(np.dstack([255 - rgb, np.zeros_like(grey)]), mode='CMYK'), rgb
    if mode == 'I;16':
        return Image.fromarray(grey.astype(np.uint16) * 256 + 77), _grey(grey)
    return Image.fromarray(rgb), rgb


def encode(kind, mode, size=(13, 7), **options):
    """A file of that picture, and its RGB."""
    image, rgb = picture(mode, size)
    buffer = io.BytesIO()
    defaults = dict(JPEG=dict(quality=100, subsampling=0), WEBP=dict(lossless=True)).get(kind, {})
    image.save(buffer, kind, **{**(defaults if mode != 'L' or kind != 'JPEG' else dict(quality=100)), **options})
    return buffer.getvalue(), rgb


def write_video(path, frames, rate=10):
    """Write frames (H, W, 3) RGB, with even sides, as a video of JPEG images."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), rate, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()


def _grey(values):
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=-1)


def png_that_claims(width, height):
    """A PNG with this size in its header, and no pixels."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunks = [(b'IHDR', header), (b'IDAT', b''), (b'IEND', b'')]
    parts = (struct.pack('>I', len(d)) + n + d + struct.pack('>I', zlib.crc32(n + d)) for n, d in chunks)
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)
