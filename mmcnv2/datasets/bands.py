"""Image files of any number of bands and any depth: pictures, TIFF, ``.npy`` and ``.npz``."""

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from mmcnv2.utils.errors import InputError, MissingFileError, MissingPackageError

from .images import (
    ImageFile,
    PillowFile,
    StoredImage,
    UnreadableImageError,
    UnsupportedImageError,
    has_more_than_8_bits,
    said_once,
    unreadable,
)

Bands = str | Sequence[int]
Ranges = str | Sequence[float] | Sequence[Sequence[float]] | None

_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # classic and big, of both byte orders
_NPY, _ZIP = b'\x93NUMPY', b'PK\x03\x04'
_ORIENTATION = 274
_PICTURES = ('JPEG', 'PNG', 'WEBP', 'AVIF', 'GIF', 'BMP', 'PPM', 'JPEG2000', 'TIFF')
_UNNAMED = 'the image'
#: The largest value of the scale that ``value_range`` maps to, that of 8 bits.
HIGHEST = 255


class BandReader:
    """How image files are read: which bands of them, and on what scale.

    Args:
        bands: 'rgb': as 8-bit RGB, see :class:`ImageFile`. 'all': every band as it is stored. Indices from 0, in any
            order, the same more than once if wanted: these bands.
        value_range: The values that become 0 and 255; those outside are clipped to it. Two numbers for all bands, a
            pair for each band that is read, or the path of a file of ``mmcnv2 stats``. None: values stay as they are.
            Not with 'rgb'.

    Raises:
        InputError: An argument is wrong.
        MissingFileError: There is no such file of statistics.
    """

    def __init__(self, bands: Bands = 'rgb', value_range: Ranges = None) -> None:
        if isinstance(bands, str):
            is_right = bands in ('rgb', 'all')
        else:
            bands = tuple(bands)
            is_right = bool(bands) and all(isinstance(band, int) and band >= 0 for band in bands)
        if not is_right:
            raise InputError(
                f"bands must be 'rgb', 'all' or a list of indices from 0 such as [3, 2, 1], got {bands!r}"
            )
        if bands == 'rgb' and value_range is not None:
            raise InputError(
                "value_range needs bands='all' or a list of indices such as [0, 1, 2]: 'rgb' always is 8 bits"
            )
        self.bands = bands
        self.value_range = value_range
        self._by_band: Mapping[int, Sequence[float]] | None = None
        self._ranges: np.ndarray | None = None
        if isinstance(value_range, str):
            self._by_band = read_ranges(value_range)
        elif value_range is not None:
            self._ranges = _checked(value_range)

    def open(self, path: str, data: bytes | None = None) -> 'ImageFile | BandFile':
        """Open a file.

        Args:
            path: The file.
            data: Its content, if it lies in an archive; None reads ``path``.

        Returns:
            Its ``read`` returns (h, w, C): uint8, RGB with 'rgb'; otherwise uint8 for files of 8 bits and float32 for
            all others, or float32 from 0 to 255 with a ``value_range``.

        Raises:
            UnreadableImageError: The file is missing or damaged.
            UnsupportedImageError: It is neither, but needs another setting, which the message names.
            MissingPackageError: Its compression needs a package that is not installed.
        """
        if self.bands != 'rgb':
            return BandFile(path, data, self.bands, self._ranges_for)
        try:
            return ImageFile(path, data)
        except UnreadableImageError as error:
            raise _explained(error, data) from error

    def _ranges_for(self, path: str, bands: Sequence[int]) -> np.ndarray | None:
        """Return lowest and highest value of each band that is read from a file, (C or 1, 2); None: as they are."""
        if self._by_band is not None:
            if missing := [band for band in bands if band not in self._by_band]:
                raise UnsupportedImageError(
                    path, f'band {missing[0]} is not in the statistics of {self.value_range}: make them for all bands'
                )
            return np.array([self._by_band[band] for band in bands], dtype=np.float32)
        if self._ranges is not None and len(self._ranges) not in (1, len(bands)):
            raise UnsupportedImageError(
                path, f'value_range has pairs for {len(self._ranges)} bands, and {len(bands)} are read: give as many'
            )
        return self._ranges

    def __repr__(self) -> str:
        return f'bands={self.bands!r}, value_range={self.value_range!r}'


class BandFile:
    """An image file whose bands are read as they are stored.

    A picture (PNG, JPEG, WebP ...) has the bands of its colours and alpha; a palette is RGB. Of a TIFF file, whatever
    is neither height nor width is a band: samples, planes and pages, of the first image size in the file. An array in
    ``.npy`` is (H, W), (H, W, C) or (C, H, W); in an ``.npz`` file, all arrays of one height and width are bands, in
    the order of the file. Where a file does not say which axis has the bands, the two equal axes are height and width,
    else the shorter of first and last has the bands.

    Memory: one image. Of an uncompressed ``.npy`` file only the window is read.

    Args:
        path: The file.
        data: Its content, if it lies in an archive; None reads ``path``.
        bands: 'all', or indices from 0.
        ranges: A function of path and indices that returns lowest and highest value of each, or None.

    Attributes:
        height: Height of the upright image, in pixels.
        width: Its width.
        count: Number of bands in the file.
        dtype: As they are stored.

    Raises:
        UnreadableImageError: The file is missing or damaged. :meth:`read` notices damaged pixels.
        UnsupportedImageError: It has no such bands, or its values are no numbers.
    """

    def __init__(self, path: str, data: bytes | None = None, bands: Bands = 'all', ranges: Any = None) -> None:
        self.path = path
        with unreadable(path):
            self._source = _open(path, data)
        self.height, self.width = self._source.height, self._source.width
        self.count, self.dtype = self._source.count, self._source.dtype
        self.bands = tuple(range(self.count)) if isinstance(bands, str) else tuple(bands)
        if max(self.bands) >= self.count:
            raise UnsupportedImageError(
                path, f'the file has bands 0 to {self.count - 1}, and bands has {max(self.bands)}: correct bands'
            )
        if self.dtype.kind not in 'buif':
            raise UnsupportedImageError(path, f'values are {self.dtype}: convert them to numbers without a unit')
        self._ranges = ranges(path, self.bands) if ranges else None

    def read(self, top: int, left: int, height: int, width: int, divisor: int = 1) -> np.ndarray:
        """Read a window as :class:`StoredImage` does, on the scale of the ranges."""
        pixels = self.read_values(top, left, height, width, divisor)
        if self._ranges is None and pixels.dtype == np.uint8:
            return pixels
        # In 64 bits only where 32 hold no neighbouring integers: large numbers differ after the lowest is subtracted.
        pixels = pixels.astype(np.float64 if self.dtype.itemsize > 2 else np.float32)
        if self.dtype.kind == 'f' and not np.isfinite(pixels).all():
            self._fill(pixels)
        if self._ranges is not None:
            low, high = self._ranges.T
            np.clip(pixels, low, high, out=pixels)
            pixels = (pixels - low) * (HIGHEST / (high - low))
        return pixels.astype(np.float32, copy=False)

    def read_values(self, top: int, left: int, height: int, width: int, divisor: int = 1) -> np.ndarray:
        """Read a window of the chosen bands as they are stored, (height, width, C)."""
        pixels = self._source.read(top, left, height, width, divisor)
        if self.bands != tuple(range(self.count)):
            pixels = np.ascontiguousarray(pixels[..., list(self.bands)])
        return pixels

    def _fill(self, pixels: np.ndarray) -> None:
        """Put the lowest value in place of what is not a number, or refuse it."""
        wrong = ~np.isfinite(pixels)
        if self._ranges is None:
            raise UnsupportedImageError(
                self.path,
                f'{wrong.mean():.1%} of the values are not finite. With a value_range they become its lowest value',
            )
        said_once.warn(
            'not finite',
            f'{self.path!r} has values that are not finite, {wrong.mean():.1%} of those read. They become the lowest '
            'value of value_range, here and in other files',
        )
        pixels[...] = np.where(wrong, self._ranges[:, 0], pixels)


def read_statistics(path: str) -> dict[str, Any]:
    """Read a file of ``mmcnv2 stats``.

    Raises:
        MissingFileError: There is none.
        InputError: It is another file.
    """
    try:
        content = json.loads(Path(path).read_text())
        if len(content['bands']) == len(content['value_range']):
            return content
    except FileNotFoundError as error:
        raise MissingFileError(
            f'no file of statistics {path!r}: `mmcnv2 stats FOLDER --out {path}` writes it'
        ) from error
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f'{path!r} is not a file that `mmcnv2 stats FOLDER --out FILE.json` has written')


def read_ranges(path: str) -> dict[int, list[float]]:
    """Return lowest and highest value by band from a file of ``mmcnv2 stats``, see ``read_statistics``."""
    content = read_statistics(path)
    _checked(content['value_range'])
    return dict(zip(content['bands'], content['value_range'], strict=True))


def bands_last(array: np.ndarray) -> np.ndarray:
    """Return an array of two or three axes as (H, W, C), see :class:`BandFile`.

    Raises:
        ValueError: It has other axes.
    """
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3:
        raise ValueError(f'an array of shape {array.shape}, expected (H, W), (H, W, C) or (C, H, W)')
    first, middle, last = array.shape
    if first == middle or (middle != last and last <= first):
        return array
    return np.moveaxis(array, 0, -1)


def size_in_header(data: bytes) -> tuple[int, int, int]:
    """Return height and width in pixels of an image file, and bytes of its pixels, before any of them is decoded.

    Only kinds whose first bytes identify them, and whose decoders start no other program, which Pillow's for
    PostScript does. Height and width are as stored, of the largest image in the file.

    Args:
        data: The content of the file.

    Raises:
        UnreadableImageError: It is of no kind that the readers of this package read, or its header is damaged.
        PIL.Image.DecompressionBombError: More pixels than Pillow allows, twice ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    with unreadable(_UNNAMED):
        if data.startswith(_NPY):
            shape, dtype = _header_of_array(io.BytesIO(data))
            return _of_shape(shape, dtype)
        if data.startswith(_ZIP):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return _of_archive(archive)
    found = []
    if data.startswith(_TIFF):  # which one of two readers takes, as the config says
        with suppress(UnreadableImageError), unreadable(_UNNAMED):
            file = _Tiff(_UNNAMED, data)
            found.append((file.height, file.width, file.height * file.width * file.count * file.dtype.itemsize))
    Image.init()
    formats = [name for name in _PICTURES if name in Image.OPEN]
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            itemsize = 4 if image.mode in ('I', 'F') else 1 + has_more_than_8_bits(image)
            found.append((height, width, height * width * len(image.getbands()) * itemsize))
    except Image.DecompressionBombError:
        raise
    except Exception as error:
        if not found:
            kinds = f'{", ".join(formats)}, npy, npz'
            raise UnreadableImageError(_UNNAMED, f'not the beginning of an image of these kinds: {kinds}') from error
    return max(found, key=lambda one: one[2])


def _header_of_array(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of what a ``.npy`` file holds."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _of_shape(shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, int, int]:
    height, width, _ = bands_last(np.broadcast_to(np.empty((), dtype), shape)).shape
    return height, width, math.prod(shape) * dtype.itemsize


def _of_archive(archive: zipfile.ZipFile) -> tuple[int, int, int]:
    """Return the size of an ``.npz`` file, which is compressed: as much as its members say, or their arrays."""
    height = width = total = 0
    for member in archive.infolist():
        with archive.open(member) as file:
            shape, dtype = _header_of_array(file)
        height, width, count = _of_shape(shape, dtype)
        total += max(count, member.file_size)
    return height, width, total


# ---- the formats ----


class _Picture(PillowFile):
    """What Pillow reads, with the bands of the file."""

    def __init__(self, path: str, data: bytes | None) -> None:
        super().__init__(path, data)
        image = self._image
        if image.mode in ('P', 'PA', 'YCbCr', 'LAB', 'HSV'):
            self._image = image = image.convert('RGB')
        self.count = len(image.getbands())
        self._is_deep_colour = self._is_deep and not image.mode.startswith('I')
        depths = {'F': np.float32, 'I': np.int32, 'I;16': np.uint16, 'I;16B': np.uint16}
        self.dtype = np.dtype(np.uint16 if self._is_deep_colour else depths.get(image.mode, np.uint8))

    def _read_stored(self, rows: tuple[int, int], columns: tuple[int, int], divisor: int) -> np.ndarray:
        if self._is_usual_jpeg:
            image = self._read_jpeg(rows, columns, divisor)
            if image is not None:
                return image[..., : self.count]  # of grey, one of three equal channels
        if self._is_deep_colour:
            pixels = cv2.imdecode(np.frombuffer(self._data, np.uint8), cv2.IMREAD_UNCHANGED)
            if pixels is None or pixels.ndim != 3:
                raise ValueError('16-bit colour that OpenCV does not read')
            order = [2, 1, 0, 3] if self.count > 2 else [0, 3]  # from BGR and alpha
            pixels = pixels[..., order[: self.count]]
        else:
            pixels = np.asarray(self._image)
            if pixels.dtype == bool:
                pixels = pixels.astype(np.uint8) * np.uint8(255)
        return np.array(pixels.reshape(*pixels.shape[:2], -1)[slice(*rows), slice(*columns)], dtype=self.dtype)


class _Tiff(StoredImage):
    """What tifffile reads: the first image of the file, with all others of its size and depth."""

    def __init__(self, path: str, data: bytes | None) -> None:
        super().__init__(path)
        self._data = data
        with self._file() as file:
            first = file.series[0]
            self._axes, self._is_bare_array = first.get_axes(squeeze=False), first.kind == 'shaped'
            self._shape, self.dtype = first.get_shape(squeeze=False), np.dtype(first.dtype).newbyteorder('=')
            self._alike = [
                index
                for index, one in enumerate(file.series)
                if one.get_shape(squeeze=False) == self._shape and one.dtype == first.dtype
            ]
            tag = file.pages.first.tags.get(_ORIENTATION)
        height, width, count = self._as_bands(np.broadcast_to(np.empty((), np.uint8), self._shape)).shape
        if Image.MAX_IMAGE_PIXELS and height * width > 2 * Image.MAX_IMAGE_PIXELS:
            raise ValueError(f'{width}x{height} pixels, more than twice PIL.Image.MAX_IMAGE_PIXELS')
        self.count = count * len(self._alike)
        self._lies(width, height, tag.value if tag else 1)

    def _file(self) -> tifffile.TiffFile:
        return tifffile.TiffFile(self.path if self._data is None else io.BytesIO(self._data))

    def _as_bands(self, array: np.ndarray) -> np.ndarray:
        """Return an image as (H, W, C)."""
        if self._is_bare_array and array.ndim == 3 and 'S' not in self._axes:
            return bands_last(array)  # tifffile writes any array so, and calls the last two axes height and width
        if not {'Y', 'X'} <= {*self._axes}:
            raise ValueError(
                f'its axes are {self._axes}, and none or only one of Y (height) and X (width) is among them'
            )
        array = np.moveaxis(array, (self._axes.index('Y'), self._axes.index('X')), (0, 1))
        return array.reshape(*array.shape[:2], -1)

    def _read_stored(self, rows: tuple[int, int], columns: tuple[int, int], divisor: int) -> np.ndarray:
        with self._file() as file:
            try:
                arrays = [file.series[index].asarray().reshape(self._shape) for index in self._alike]
            except ValueError as error:
                if 'imagecodecs' not in str(error):
                    raise
                raise MissingPackageError(f'{self.path!r}: {error}: pip install imagecodecs') from error
        windows = [self._as_bands(array)[slice(*rows), slice(*columns)] for array in arrays]
        return np.array(windows[0] if len(windows) == 1 else np.concatenate(windows, axis=-1), dtype=self.dtype)


class _Array(StoredImage):
    """What NumPy reads."""

    def __init__(self, path: str, data: bytes | None, is_archive: bool) -> None:
        super().__init__(path)
        source: Any = path if data is None else io.BytesIO(data)
        if is_archive:
            with np.load(source, allow_pickle=False) as archive:
                arrays = {name: bands_last(archive[name]) for name in archive.files}
            if len({array.shape[:2] for array in arrays.values()}) != 1:
                shapes = ', '.join(f'{name} {array.shape}' for name, array in arrays.items())
                raise UnsupportedImageError(
                    path, f'its arrays have different heights and widths ({shapes}): keep one size in a file'
                )
            self._array = np.concatenate([*arrays.values()], axis=-1)
        else:
            # Of a file on disk, only what is read of it comes into memory.
            mode = 'r' if data is None else None
            self._array = bands_last(np.load(source, mmap_mode=mode, allow_pickle=False))  # type: ignore[arg-type]
        height, width, self.count = self._array.shape
        self.dtype = self._array.dtype.newbyteorder('=')
        if self.dtype == bool:
            self.dtype = np.dtype(np.uint8)
        self._lies(width, height, 1)

    def _read_stored(self, rows: tuple[int, int], columns: tuple[int, int], divisor: int) -> np.ndarray:
        pixels = np.array(self._array[slice(*rows), slice(*columns)])
        return pixels.astype(np.uint8) * np.uint8(HIGHEST) if pixels.dtype == bool else pixels.astype(self.dtype)


def _open(path: str, data: bytes | None) -> StoredImage:
    """Open a file by its first bytes, whatever its name ends in."""
    if data is None:
        with open(path, 'rb') as file:
            head = file.read(8)
    else:
        head = data[:8]
    if head.startswith(_TIFF):
        return _Tiff(path, data)
    if head.startswith((_NPY, _ZIP)):
        return _Array(path, data, is_archive=head.startswith(_ZIP))
    return _Picture(path, data)


def _explained(error: UnreadableImageError, data: bytes | None) -> UnreadableImageError:
    """Return the error with which an RGB image was refused, or one that names the setting that reads it."""
    if not isinstance(error.__cause__, UnidentifiedImageError):
        return error
    try:
        file = BandFile(error.path, data)
        file.read_values(0, 0, file.height, file.width)
    except UnreadableImageError:
        return error
    except MissingPackageError:
        pass  # other than its pixels, the file is in order
    return UnsupportedImageError(
        error.path,
        f"{file.count} band{'s' * (file.count > 1)} of {file.dtype}, which bands='rgb' does not read. Set bands='all' "
        'or a list of indices such as [3, 2, 1], and value_range, in mmcnv2.LoadImage or LoadRandomResizedCrop',
    )


def _checked(value_range: Any) -> np.ndarray:
    """Return lowest and highest values as (n, 2) float32."""
    try:
        ranges: np.ndarray = np.array(value_range, dtype=np.float32)
    except (TypeError, ValueError):
        ranges = np.empty(0)
    ranges = ranges[None] if ranges.shape == (2,) else ranges
    if ranges.ndim != 2 or ranges.shape[1:] != (2,) or not len(ranges) or not (ranges[:, 0] < ranges[:, 1]).all():
        raise InputError(
            'value_range must be (lowest, highest), a pair for each band, or the path of a file of `mmcnv2 stats`, '
            f'got {value_range!r}'
        )
    return ranges
