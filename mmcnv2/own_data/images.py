"""The images of a folder: which there are, how large they are, and which of them are held out."""

import os
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image

from mmcnv2.datasets import UnlabelledImages
from mmcnv2.datasets.images import ImageFile, UnreadableImageError, upright_size
from mmcnv2.utils.errors import InputError, MissingFileError

#: Every so many-th image is held out where there is no validation set.
HELD_OUT = 5
_MOST_HEADERS = 2000
_VALIDATION = ('val', 'valid', 'validation', 'dev')

T = TypeVar('T')


@dataclass(frozen=True)
class Sizes:
    """Width and height of images, from the headers of up to 2000 files spread over them.

    Attributes:
        sizes: Width and height, upright.
        modes: Pillow's modes, how many files of each.
        broken: Files whose header cannot be read.
    """

    sizes: list[tuple[int, int]]
    modes: Counter[str]
    broken: list[str]

    @property
    def width(self) -> int:
        """The median width."""
        return round(statistics.median(width for width, _ in self.sizes))

    @property
    def height(self) -> int:
        """The median height."""
        return round(statistics.median(height for _, height in self.sizes))

    def __str__(self) -> str:
        areas = sorted(self.sizes, key=lambda size: size[0] * size[1])
        smallest, largest = (f'{width}x{height}' for width, height in (areas[0], areas[-1]))
        if smallest == largest:
            return f'all {smallest}'
        return f'{smallest} to {largest}, median {self.width}x{self.height}'


def image_files(folder: str | Path) -> list[str]:
    """Return the paths of the images of a folder and its sub-folders, sorted.

    Raises:
        MissingFileError: If there is no such folder or no image in it.
    """
    dataset = UnlabelledImages(data_root=str(folder), serialize_data=False)
    return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]


def data_folder(path: str) -> Path:
    """Return the folder that the user named, absolute.

    Raises:
        MissingFileError: If there is none.
    """
    if not os.path.isdir(path):
        what = 'a file' if os.path.exists(path) else 'absent'
        raise MissingFileError(f'{path} is {what} (from {os.getcwd()!r}): give the folder of the data')
    return Path(path).absolute()


def look_at_headers(paths: Sequence[str]) -> Sizes:
    """Read the headers of images.

    Raises:
        InputError: If none can be read.
    """
    sizes, modes, broken = [], Counter[str](), []
    for path in spread(paths, _MOST_HEADERS):
        if size := read_header(path):
            sizes.append(size[:2])
            modes[size[2]] += 1
        else:
            broken.append(path)
    if not sizes:
        raise InputError(f'none of {len(broken)} images can be read, for instance {broken[0]}: are they images?')
    return Sizes(sizes, modes, broken)


def read_header(path: str) -> tuple[int, int, str] | None:
    """Return width and height as viewers show an image, EXIF orientation applied, and Pillow's mode.

    None: the file is no image.
    """
    try:
        with Image.open(path) as image:
            return *upright_size(image), image.mode
    except Exception:  # on damaged files the decoders raise almost anything
        return None


def thumbnail(path: str, side: int) -> np.ndarray | None:
    """Return an image as (H, W, 3) uint8 RGB whose longer side is ``side``, or None if it cannot be read."""
    try:
        file = ImageFile(path)
        pixels = file.read(0, 0, file.height, file.width)
    except UnreadableImageError:
        return None
    scale = side / max(pixels.shape[:2])
    height, width = (max(1, round(scale * length)) for length in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def grey_statistics(paths: Sequence[str]) -> tuple[int, int] | None:
    """Return mean and standard deviation of the pixels of images most of which are grey, from up to 32 of them.

    None: most are in colour, or none can be read. Grey images should not be normalised with a mean and std that differ
    by channel, see :class:`mmcnv2.ConstantTargetsHook`.
    """
    small = [image for path in spread(paths, 32) if (image := thumbnail(path, 256)) is not None]
    # JPEG leaves a little colour in grey.
    grey = [image for image in small if np.ptp(image, axis=-1).mean() < 2]
    if not small or 2 * len(grey) < len(small):
        return None
    pixels = np.concatenate([image.reshape(-1) for image in small])
    return round(float(pixels.mean())), max(1, round(float(pixels.std())))


def spread(items: Sequence[T], most: int) -> list[T]:
    """Return at most so many of the items, spread evenly."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def hold_out(items: Iterable[T]) -> tuple[list[T], list[T]]:
    """Divide into what is trained on and every fifth, held out to validate on; of two to four the last.

    A single one is on both sides.
    """
    items = list(items)
    held_out = [i for i in range(len(items)) if i % HELD_OUT == HELD_OUT - 1] or [len(items) - 1]
    val = [items[i] for i in held_out if i >= 0]
    train = [item for i, item in enumerate(items) if i not in set(held_out)]
    return (train or val), val


def is_validation(path: str) -> bool:
    """Return whether a part of a relative path says 'val', as in val2017 or instances_val.json."""
    return any(_has_word(part, _VALIDATION) for part in Path(path).parts)


def is_test(path: str) -> bool:
    """Return whether a part of a relative path says 'test'."""
    return any(_has_word(part, ('test', 'testing')) for part in Path(path).parts)


def _has_word(text: str, words: Sequence[str]) -> bool:
    letters = ''.join(character if character.isalpha() else ' ' for character in text.lower())
    return any(word in words for word in letters.split())


def some(values: Iterable[object], most: int = 5) -> str:
    """Return the first values as text, with dots if there are more."""
    values = [*values]
    return ', '.join(map(str, values[:most])) + (', ...' if len(values) > most else '')


def spell(number: int, noun: str, plural: str = '') -> str:
    """Return '1 image', '1,234 images'."""
    return f'{number:,} {noun if number == 1 else plural or noun + "s"}'
