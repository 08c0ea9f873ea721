"""Image files that tell their size before their pixels are decoded, and files of any usual kind as 8-bit RGB."""

import io
import logging
import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import Image

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
# Of 256 grey levels; so few are left of values of 14 bits and less that a file keeps in 16.
_FEW_LEVELS = 64
_PAGE = 'docs/how_to/bands.md'


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


class UnsupportedImageError(UnreadableImageError):
    """An image file that is not damaged: another setting reads it, and the reason names that setting."""


# ---- what is said once a run ----


class _SaidOnce:
    """Warnings that a run gives once, whichever process of the data loader is the first to see why.

    The memory is shared with processes that are forked later; others give a warning of their own.
    """

    def __init__(self, *kinds: str) -> None:
        self._kinds = kinds
        self._said = mmap.mmap(-1, len(kinds))

    def __contains__(self, kind: str) -> bool:
        return bool(self._said[self._kinds.index(kind)])

    def warn(self, kind: str, message: str) -> None:
        """Give a warning, unless one of its kind has been given."""
        if kind not in self:
            self._said[self._kinds.index(kind)] = 1
            print_log(f'{message}. This is said once; see {_PAGE}', logger='current', level=logging.WARNING)

    def forget(self) -> None:
        """Start again, for another run in this process."""
        self._said[:] = bytes(len(self._kinds))


said_once = _SaidOnce('bands', 'pages', 'bits', 'not finite')


def warn_of_lost_bands(path: str, image: Image.Image) -> None:
    """Warn of a fourth band and of further pages that RGB leaves out.

    An alpha channel that is opaque everywhere holds nothing that could be lost.

    Args:
        path: The file.
        image: As Pillow has opened it, with its pixels loaded or not.
    """
    bands = image.getbands()
    if 'bands' not in said_once and bands[-1] in ('A', 'X') and image.mode not in ('PA', 'La'):
        lowest = image.getextrema()[-1][0]  # type: ignore[index]  # a pair for each band
        if lowest != 255:
            said_once.warn(
                'bands',
                f'{path!r} has {len(bands)} bands, and RGB leaves out the last, which by the file is alpha: 1 of '
                f"{len(bands)} values. mmcnv2.LoadImage and LoadRandomResizedCrop keep it with bands='all' or a list "
                f'such as {list(range(len(bands)))}',
            )
    if 'pages' not in said_once and image.format == 'TIFF' and (count := _pages_of_one_size(image)) > 1:
        said_once.warn(
            'pages',
            f'{path!r} has {count} pages, and RGB is the first: {count - 1} of {count} are left out. '
            "mmcnv2.LoadImage and LoadRandomResizedCrop read all pages as bands with bands='all' or a list such as "
            '[3, 2, 1]',
        )


def _pages_of_one_size(image: Image.Image) -> int:
    """Return the number of pages; 1 if the second is a thumbnail or an overview, or cannot be read."""
    size, count = image.size, 1
    with suppress(Exception):  # the first page has been read
        count = getattr(image, 'n_frames', 1)
        if count > 1:
            image.seek(1)
            count = count if image.size == size else 1
    return count


def has_more_than_8_bits(image: Image.Image) -> bool:
    """Return whether RGB narrows the integers of an image. Not loaded yet: then Pillow forgets their depth."""
    return image.mode.startswith('I') or any(';16' in str(tile) for tile in getattr(image, 'tile', ()))


def warn_of_lost_bits(path: str, narrowed: np.ndarray) -> None:
    """Warn if few grey levels are left of a file of 16 bits.

    Args:
        path: The file.
        narrowed: Its upper 8 bits, uint8.
    """
    if 'bits' in said_once or not narrowed.size or narrowed.max() >= _FEW_LEVELS:
        return
    highest = int(narrowed.max()) * 256 + 255
    said_once.warn(
        'bits',
        f'{path!r} holds values up to {highest} in 16 bits, of which 8-bit RGB keeps the upper 8: '
        f'{int(narrowed.max()) + 1} of 256 grey levels remain. mmcnv2.LoadImage and LoadRandomResizedCrop keep them '
        f"with bands='all' (or [0, 0, 0] for three equal channels) and value_range=(0, {highest}), or the range of "
        'all your files, which `mmcnv2 stats FOLDER` tells',
    )


# ---- files ----


class StoredImage(ABC):
    """An image file of which windows are read, upright.

    Args:
        path: The file.

    Attributes:
        height: Height of the upright image, in pixels.
        width: Its width.
        count: Number of bands in the file; of :class:`ImageFile` always 3.
        dtype: Of its values, as they are stored.
    """

    height: int
    width: int
    count: int = 3
    dtype: np.dtype = np.dtype(np.uint8)

    def __init__(self, path: str) -> None:
        self.path = path
        self._transposed, *self._reversed = False, False, False

    def _lies(self, width: int, height: int, orientation: int) -> None:
        """Note the size of the stored image and its EXIF orientation."""
        self._transposed, *self._reversed = _STORED.get(orientation, (False, False, False))
        self.height, self.width = (width, height) if self._transposed else (height, width)

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
            (height, width, C), or about that fraction of it with a divisor; contiguous, writable.

        Raises:
            UnreadableImageError: The pixels are damaged.
            UnsupportedImageError: They are not, and need another setting.
        """
        # Map the upright window to its place in the file.
        reverse_rows, reverse_columns = self._reversed
        spans = [(left, width, self.width), (top, height, self.height)]
        if not self._transposed:
            spans.reverse()
        rows = _span(*spans[0], reverse_rows)
        columns = _span(*spans[1], reverse_columns)

        with unreadable(self.path):
            pixels = self._read_stored(rows, columns, divisor)
        pixels = pixels[:: -1 if reverse_rows else 1, :: -1 if reverse_columns else 1]
        return np.ascontiguousarray(pixels.transpose(1, 0, 2) if self._transposed else pixels)

    @abstractmethod
    def _read_stored(self, rows: tuple[int, int], columns: tuple[int, int], divisor: int) -> np.ndarray:
        """Decode rows and columns of the image as stored in the file."""


class PillowFile(StoredImage):
    """An image file whose header Pillow reads.

    Args:
        path: The file.
        data: Its content, if it lies in an archive; None reads ``path``.

    Raises:
        UnreadableImageError: The file is missing, damaged or not an image. :meth:`read` notices damaged pixels.
    """

    def __init__(self, path: str, data: bytes | None = None) -> None:
        super().__init__(path)
        with unreadable(path):
            self._data = Path(path).read_bytes() if data is None else data
            self._image: Image.Image = Image.open(io.BytesIO(self._data))
            # A JPEG that is cut off lacks its end marker. Pillow refuses it; OpenCV before 4.12 fills in the rest.
            self._is_usual_jpeg = (
                self._image.format in ('JPEG', 'MPO')
                and self._image.mode in ('L', 'RGB')
                and self._data.endswith(_END_OF_IMAGE)
            )
            self._is_deep = False
            if not self._is_usual_jpeg:
                self._is_deep = has_more_than_8_bits(self._image)
                self._image.load()  # only now do some formats know their orientation
            self._lies(*self._image.size, _orientation(self._image))

    def _read_jpeg(self, rows: tuple[int, int], columns: tuple[int, int], divisor: int) -> np.ndarray | None:
        """Decode a usual JPEG file as RGB; None if OpenCV does not."""
        flags = _JPEG_FLAGS[divisor] | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(self._data, np.uint8), flags)
        if image is None:
            return None
        (y0, y1), (x0, x1) = (((edge + divisor // 2) // divisor for edge in span) for span in (rows, columns))
        return cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_BGR2RGB)  # also makes the window contiguous


class ImageFile(PillowFile):
    """An image file that is read as 8-bit RGB, whatever it is stored as.

    Grey becomes three equal channels, an alpha channel is dropped (what ``convert('RGB')`` does, as
    in the MAE and ConvNeXt V2 loaders), palette and CMYK are converted, files of 16 bits keep the upper
    8 bits, an animation is read as its first frame. EXIF orientation is applied; colour profiles are
    ignored. Pillow's limit for huge images (``PIL.Image.MAX_IMAGE_PIXELS``) stays as it is set. A fourth band that is
    not opaque, further pages and a range that 8 bits hardly keep are warned of, once a run.

    Pillow reads every file's header, and the pixels of all but the usual JPEG files. OpenCV decodes those: to the same
    values, faster, and without a further copy. :meth:`read` returns (height, width, 3) uint8, RGB.

    Args:
        path: The file.
        data: Its content, if it lies in an archive; None reads ``path``.

    Raises:
        UnreadableImageError: The file is missing, damaged or not an image. :meth:`read` notices damaged pixels.
        UnsupportedImageError: From :meth:`read`: of a kind that has no 8-bit meaning (floating point, 32-bit
            integers).
    """

    def _read_stored(self, rows: tuple[int, int], columns: tuple[int, int], divisor: int) -> np.ndarray:
        if self._is_usual_jpeg:
            image = self._read_jpeg(rows, columns, divisor)
            if image is not None:
                return image
        pixels = np.array(self._to_rgb())
        if not self._is_usual_jpeg:
            warn_of_lost_bands(self.path, self._image)
        if self._is_deep:
            warn_of_lost_bits(self.path, pixels)
        return pixels[slice(*rows), slice(*columns)]

    def _to_rgb(self) -> Image.Image:
        """Convert an image of any mode to mode RGB."""
        image = self._image
        if image.mode == 'F':
            raise UnsupportedImageError(self.path, f'floating-point pixels have no fixed range; {_MEND}')
        if image.mode == 'I' or image.mode.startswith('I;16'):
            # Pillow clips 16-bit grey to 255. Its own readers of 16-bit colour keep the upper byte.
            values = np.asarray(image)
            if values.min() < 0 or values.max() > 65535:
                raise UnsupportedImageError(self.path, f'integer pixels outside 0 to 65535; {_MEND}')
            image = Image.fromarray((values >> 8).astype(np.uint8))
        # Alpha is dropped anyway; converting a transparent palette colour takes time and warns.
        image.info.pop('transparency', None)
        return image.convert('RGB')


_MEND = "convert the file to 8 bits, or read it with bands='all' and a value_range (mmcnv2.LoadImage)"


@contextmanager
def unreadable(path: str) -> Iterator[None]:
    """Turn whatever decoding raises into UnreadableImageError.

    On damaged input the decoders raise almost anything: OSError, SyntaxError, ValueError, EOFError, struct.error,
    DecompressionBombError, ... The block must contain nothing but decoding.
    """
    try:
        yield
    except InputError:
        raise  # says everything already
    except Exception as error:
        raise UnreadableImageError(path, f'{type(error).__name__}: {error}') from error


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an opened image as viewers show it, EXIF orientation applied."""
    is_transposed, *_ = _STORED.get(_orientation(image), (False,))
    return image.size[::-1] if is_transposed else image.size


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; unreadable EXIF data count as none."""
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1


def _span(start: int, length: int, total: int, is_reversed: bool) -> tuple[int, int]:
    """Return first index and end of a range in an order that may be reversed."""
    return (total - start - length, total - start) if is_reversed else (start, start + length)
