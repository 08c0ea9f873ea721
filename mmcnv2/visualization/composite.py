"""Three bands of an image of any number and depth, as a picture."""

from collections.abc import Sequence

import numpy as np

from mmcnv2.utils.errors import InputError

_PERCENTILES = (2, 98)


def choose_bands(count: int, bands: Sequence[int] | None = None) -> tuple[int, int, int]:
    """Return the bands that are drawn as red, green and blue.

    Args:
        count: Number of bands of the image.
        bands: Three indices from 0, or one that is drawn in grey. None: the first three, or the first in grey where
            there are not as many.

    Raises:
        InputError: There are no such bands.
    """
    chosen = tuple(bands) if bands is not None else (0, 1, 2) if count >= 3 else (0,)
    if len(chosen) not in (1, 3) or not all(0 <= band < count for band in chosen):
        raise InputError(f'the bands of a picture must be 1 or 3 of 0 to {count - 1}, got {bands}')
    red, green, blue = chosen * 3 if len(chosen) == 1 else chosen
    return red, green, blue


def display_range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what is black and what is white, for each band.

    0 and 255 where the values are on that scale: uint8, or from 0 to 255 and not all within 0 to 1. Otherwise the 2nd
    and 98th percentile of each band.

    Args:
        values: (..., C), of any real type.

    Returns:
        Two arrays (C,) float64, the second greater than the first.
    """
    count = values.shape[-1]
    flat = values.reshape(-1, count)
    flat = flat[np.isfinite(flat).all(axis=1)]
    if values.dtype == np.uint8 or not len(flat) or (flat.min() >= 0 and 1 < flat.max() <= 255):
        return np.zeros(count), np.full(count, 255.0)
    low, high = np.percentile(flat.astype(np.float64), _PERCENTILES, axis=0)
    return low, np.where(high > low, high, low + 1)


def composite(image: np.ndarray, bands: Sequence[int] | None = None) -> np.ndarray:
    """Return a picture of three bands.

    Args:
        image: (H, W, C), of any real type.
        bands: See ``choose_bands``.

    Returns:
        (H, W, 3) uint8, RGB; what is not finite is black.
    """
    values = image[..., list(choose_bands(image.shape[-1], bands))]
    low, high = display_range(values)
    return (255 * np.nan_to_num((values - low) / (high - low), posinf=0, neginf=0).clip(0, 1)).round().astype(np.uint8)
