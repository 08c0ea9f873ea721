"""Read image files of any usual kind as 8-bit RGB: whole, or one window of them."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from PIL import Image

from mmcnv2.registry import TRANSFORMS
from mmcnv2.utils.errors import InputError

_EXIF_ORIENTATION = 0x0112
# How the picture is stored for each EXIF orientation (EXIF 2.32, tag 0x0112): whether the file's rows are the
# columns of the upright picture, whether the file's rows are in reverse order, and whether its columns are.
_STORED = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
_END_OF_IMAGE = b'\xff\xd9'
# JPEG's blocks of 8x8 pixels can be transformed back to 4x4, 2x2 or 1x1. libjpeg-turbo has no fast code for its other
# sizes: 7/8, 6/8 and 5/8 take longer than the full size.
_JPEG_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


class UnreadableImageError(InputError, OSError):
    """An image file that cannot be decoded. Nothing else raises it, so a dataset may skip the file.

    Args:
        path: The file.
        reason: Why it cannot be read.
    """

    def __init__(self, path: str, reason: str = '') -> None:
        super().__init__(f'{path!r}: {reason}' if reason else path)
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple:
        # An OSError would be rebuilt from the joined message; workers send it between processes.
        return type(self), (self.path, self.reason)


class ImageFile:
    """An image file that tells its size before its pixels are decoded, so that a crop can be chosen first.

    Grey becomes three equal channels, an alpha channel is dropped (what ``convert('RGB')`` does, as
    in the MAE and ConvNeXt V2 loaders), palette and CMYK are converted, 16-bit grey keeps its upper
    8 bits, an animation is read as its first frame. EXIF orientation is applied; colour profiles are
    ignored. Pillow's limit for huge images (``PIL.Image.MAX_IMAGE_PIXELS``) stays as it is set.

    Pillow reads every file's header, and the pixels of all but the usual JPEG files. OpenCV decodes those: to the same
    values, faster, and without a further copy.

    Args:
        path: The file.
        data: Its content, if it lies in an archive; None reads ``path``.

    Attributes:
        height: Height of the upright image, in pixels.
        width: Its width.

    Raises:
        UnreadableImageError: The file is missing, damaged, not an image, or of a kind that has no
            8-bit meaning (floating point, 32-bit integers). :meth:`read` notices damaged pixels.
    """

    def __init__(self, path: str, data: bytes | None = None) -> None:
        self.path = path
        with _unreadable(path):
            self._data = Path(path).read_bytes() if data is None else data
            self._image = Image.open(io.BytesIO(self._data))
            # A JPEG that is cut off lacks its end marker. Pillow refuses it; OpenCV before 4.12 fills in the rest.
            self._is_usual_jpeg = (
                self._image.format in ('JPEG', 'MPO')
                and self._image.mode in ('L', 'RGB')
                and self._data.endswith(_END_OF_IMAGE)
            )
            if not self._is_usual_jpeg:
                self._image.load()  # only now do some formats know their orientation
            self._transposed, *self._reversed = _stored_order(self._image)
        size = self._image.size
        self.height, self.width = size if self._transposed else size[::-1]

    def read(self, top: int, left: int, height: int, width: int, divisor: int = 1) -> np.ndarray:
        """Decode a window of the upright image.

        Args:
            top: First row of the window, in pixels of the upright image.
            left: First column.
            height: Rows; the window lies inside the image.
            width: Columns.
            divisor: 1, 2, 4 or 8: decode JPEG files at this fraction of their size, which is faster. The window's
                edges are then rounded to pixels of the smaller image, so no side may be smaller than the divisor.
                Other files are read at their full size.

        Returns:
            (height, width, 3), or about that fraction of it with a divisor; uint8, RGB, contiguous, writable.

        Raises:
            UnreadableImageError: The pixels are damaged.
        """
        # Map the upright window to its place in the file.
        reverse_rows, reverse_columns = self._reversed
        spans = [(left, width, self.width), (top, height, self.height)]
        if not self._transposed:
            spans.reverse()
        rows = _span(*spans[0], reverse_rows)
        columns = _span(*spans[1], reverse_columns)

        with _unreadable(self.path):
            pixels = self._read_stored(rows, columns, divisor)
        pixels = pixels[:: -1 if reverse_rows else 1, :: -1 if reverse_columns else 1]
        return np.ascontiguousarray(pixels.transpose(1, 0, 2) if self._transposed else pixels)

    def _read_stored(self, rows: tuple[int, int], columns: tuple[int, int], divisor: int) -> np.ndarray:
        """Decode rows and columns of the image as stored in the file."""
        if self._is_usual_jpeg:
            flags = _JPEG_FLAGS[divisor] | cv2.IMREAD_IGNORE_ORIENTATION
            image = cv2.imdecode(np.frombuffer(self._data, np.uint8), flags)
            if image is not None:
                (y0, y1), (x0, x1) = (((edge + divisor // 2) // divisor for edge in span) for span in (rows, columns))
                return cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_BGR2RGB)  # also makes the window contiguous
        return np.array(_to_rgb(self._image))[slice(*rows), slice(*columns)]


@TRANSFORMS.register_module()
class LoadRGBImage(BaseTransform):
    """Read an image file as RGB, whatever it is stored as; :class:`ImageFile` says how.

    Required Keys:

    - img_path (str)
    - img_bytes (bytes, optional): Content of the file, where ``img_path`` names a file in an archive.

    Added Keys:

    - img (np.ndarray): (H, W, 3), uint8, RGB, values 0 to 255.
    - img_shape (tuple[int, int]): (H, W).
    - ori_shape (tuple[int, int]): (H, W).

    Raises:
        UnreadableImageError: The file cannot be decoded.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``img``, ``img_shape`` and ``ori_shape``.

        Args:
            results: Dict with the required keys.

        Returns:
            The same dict.
        """
        file = ImageFile(results['img_path'], results.get('img_bytes'))
        results['img'] = file.read(0, 0, file.height, file.width)
        results['img_shape'] = results['ori_shape'] = (file.height, file.width)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


class LoadCheckedImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, with the same pixels, whose errors name the file and the reason.

    It also refuses a picture with more pixels than Pillow allows (twice ``PIL.Image.MAX_IMAGE_PIXELS``) by its header,
    before taking any memory, and one whose size is not that of the annotation file (``height`` and ``width``): its
    boxes would be misplaced. The tools use it instead of mmcv's, see ``engine/safe_loaders.py``.

    Raises:
        UnreadableImageError: The file is missing or damaged, or has another size.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """See mmcv."""
        path = results['img_path']
        with _unreadable(path):
            # The path may be one in a store that mmengine.fileio knows. tifffile reads kinds that Pillow does not.
            if os.path.isfile(path) and self.imdecode_backend != 'tifffile':
                Image.open(path).close()
            loaded = super().transform(results)
        expected = (results.get('height'), results.get('width'))
        if loaded is not None and None not in expected and results['ori_shape'] != expected:
            height, width = results['ori_shape']
            raise UnreadableImageError(
                path,
                f'the image is {width}x{height}, the annotation file says {expected[1]}x{expected[0]} (width x '
                'height; EXIF orientation is applied, as viewers do). Correct one of them',
            )
        return loaded


@contextmanager
def _unreadable(path: str) -> Iterator[None]:
    """Turn whatever decoding raises into UnreadableImageError.

    On damaged input the decoders raise almost anything: OSError, SyntaxError, ValueError, EOFError, struct.error,
    DecompressionBombError, ... The block must contain nothing but decoding.
    """
    try:
        yield
    except Exception as error:
        raise UnreadableImageError(path, f'{type(error).__name__}: {error}') from error


def _stored_order(image: Image.Image) -> tuple[bool, bool, bool]:
    """Return the entry of ``_STORED`` for an image; unreadable EXIF data count as none."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        orientation = 1
    return _STORED.get(orientation, (False, False, False))


def _span(start: int, length: int, total: int, is_reversed: bool) -> tuple[int, int]:
    """Return first index and end of a range in an order that may be reversed."""
    return (total - start - length, total - start) if is_reversed else (start, start + length)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to mode RGB."""
    if image.mode == 'F':
        raise ValueError('floating-point pixels have no fixed range; convert the file to 8 bits')
    if image.mode == 'I' or image.mode.startswith('I;16'):
        # Pillow clips 16-bit grey to 255. Its own readers of 16-bit colour keep the upper byte.
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError('integer pixels outside 0 to 65535; convert the file to 8 bits')
        image = Image.fromarray((values >> 8).astype(np.uint8))
    # Alpha is dropped anyway; converting a transparent palette colour takes time and warns.
    image.info.pop('transparency', None)
    return image.convert('RGB')
