"""Large images in tiles that overlap: where these lie, and how their results become those of the image."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mmcnv2.utils.errors import InputError

Window = tuple[int, int, int, int]  # left, top, width, height


def check_tiles(tile: int | None, overlap: float) -> None:
    """Check the arguments of ``tile_windows``.

    Raises:
        InputError: ``tile`` is below 32, or ``overlap`` not from 0 to 0.9.
    """
    if tile is not None and tile < 32:
        raise InputError(f'tile must be at least 32 pixels, got {tile}')
    if not 0 <= overlap <= 0.9:
        raise InputError(f'overlap must be from 0 to 0.9, the share of a tile, got {overlap}')


def tile_windows(height: int, width: int, tile: int, overlap: float) -> list[list[Window]]:
    """Return rows of windows that cover an image.

    Args:
        height: Of the image in pixels.
        width: Of the image.
        tile: Side of a window; smaller where the image is.
        overlap: The least share of a window that neighbours share. They are spread evenly.
    """
    return [
        [(left, top, min(tile, width), min(tile, height)) for left in _starts(width, tile, overlap)]
        for top in _starts(height, tile, overlap)
    ]


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    if length <= tile:
        return [0]
    stride = max(tile * (1 - overlap), 1)
    count = int(np.ceil((length - tile) / stride - 1e-9)) + 1
    return np.linspace(0, length - tile, count).round().astype(int).tolist()


def average_logits(rows: Iterator[tuple[list[Window], list[Tensor]]], width: int) -> Iterator[Tensor]:
    """Yield strips of the averaged logits of an image, from the top; together they are the image.

    A row of pixels is complete once the windows below begin under it, so that no more than the strip of a row of
    windows is in memory.

    Args:
        rows: The windows of a row and the logits (C, h, w) of each.
        width: Of the image.

    Yields:
        (C, n, width) float32.
    """
    top = 0
    strip = torch.zeros(0)  # from row ``top`` on: sums of the logits and, last, of how many they are
    for windows, logits in rows:
        start, height = windows[0][1], windows[0][3]
        if start > top:
            yield strip[:-1, : start - top] / strip[-1, : start - top]
            strip = strip[:, start - top :]
        top = start
        grown = torch.zeros(len(logits[0]) + 1, height, width)
        if strip.numel():
            grown[:, : strip.shape[1]] = strip
        strip = grown
        for (left, _, wide, high), values in zip(windows, logits, strict=True):
            strip[:-1, :high, left : left + wide] += values
            strip[-1, :high, left : left + wide] += 1
    yield strip[:-1] / strip[-1]
