"""What can be given to ``Predictor``, as a list of items: images, videos, a camera, arrays."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from mmcnv2.datasets import UnreadableImageError
from mmcnv2.datasets.unlabelled_images import EXTENSIONS, image_files
from mmcnv2.utils.errors import InputError, MissingFileError

#: Endings of what is looked for in folders and globs.
IMAGES = (*EXTENSIONS, '.npy', '.npz')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv')


@dataclass(frozen=True)
class Item:
    """One image, video, camera or array.

    Attributes:
        name: Where its results belong: its path below the folder that was given, with '/'.
        path: The file; None of a camera or an array.
        camera: Number of a camera.
        array: (H, W, C).
    """

    name: str
    path: str | None = None
    camera: int | None = None
    array: np.ndarray | None = None

    @property
    def is_stream(self) -> bool:
        """Whether it has frames: a video or a camera."""
        return self.camera is not None or (self.path is not None and self.path.lower().endswith(VIDEOS))


def find_items(source: Any) -> list[Item]:
    """Return what a source consists of.

    Args:
        source: Path of an image, a video or a folder, which is searched with its sub-folders; a glob, with ``**`` for
            any folders; the number of a camera; an array (H, W, C); or a list of these.

    Raises:
        MissingFileError: There is no such file, or no image in the folder.
        InputError: It is none of these.
    """
    if isinstance(source, str | os.PathLike):
        return _of_path(os.fspath(source))
    if isinstance(source, np.ndarray):
        return [Item('array', array=source)]
    if isinstance(source, int) and not isinstance(source, bool):
        return [Item(f'camera_{source}', camera=source)]
    if isinstance(source, Sequence):
        return _of_list(source)
    raise InputError(
        'source must be a path, a glob, the number of a camera, an array (height, width, 3) or a list of these, got '
        f'{type(source).__name__}'
    )


def _of_path(path: str) -> list[Item]:
    if os.path.isdir(path):
        return _below(path, sorted(image_files(path, (*IMAGES, *VIDEOS))), 'no images or videos in it')
    if os.path.isfile(path):
        return [Item(os.path.basename(path), path)]
    if glob.has_magic(path):
        found = sorted(one for one in glob.glob(path, recursive=True) if os.path.isfile(one))
        known = [one for one in found if one.lower().endswith((*IMAGES, *VIDEOS))]
        parts = Path(path).parts
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        return _below(str(Path(*parts[:fixed])), known or found, 'no file of this kind')
    if path.isdecimal():
        return [Item(f'camera_{path}', camera=int(path))]
    raise MissingFileError(f'source {path!r} does not exist (from {os.getcwd()!r})')


def _below(folder: str, paths: list[str], missing: str) -> list[Item]:
    if not paths:
        raise MissingFileError(f'source {folder!r}: {missing}; expected files that end in {", ".join(EXTENSIONS)} ...')
    return [Item(Path(os.path.relpath(path, folder)).as_posix(), path) for path in paths]


def _of_list(sources: Sequence[Any]) -> list[Item]:
    """Name files by their paths below the folder that all of them are in."""
    if not sources:
        raise InputError('source is an empty list')
    groups = [find_items(source) for source in sources]
    files = [os.path.abspath(group[0].path) for group in groups if len(group) == 1 and group[0].path]
    root = os.path.commonpath([os.path.dirname(path) for path in files]) if files else ''
    items: list[Item] = []
    for number, group in enumerate(groups):
        for item in group:
            if item.array is not None:
                item = Item(f'array_{number:06}', array=item.array)
            elif item.path and len(group) == 1:
                item = Item(Path(os.path.relpath(os.path.abspath(item.path), root)).as_posix(), item.path)
            items.append(item)
    return items


def output_names(items: Sequence[Item]) -> list[str]:
    """Return the names of the files of the results, without ending; one of each item.

    An image ``a/b.jpg`` has ``a/b``. If another item is ``a/b.png``, both keep their endings: ``a/b.jpg``,
    ``a/b.png``. Items of one name, from different folders of a list, are numbered.
    """
    stems = [str(PurePosixPath(item.name).with_suffix('')) if item.path else item.name for item in items]
    count: dict[str, int] = {}
    for stem in stems:
        count[stem.lower()] = count.get(stem.lower(), 0) + 1
    names, seen = [], set()
    for item, stem in zip(items, stems, strict=True):
        name = base = stem if count[stem.lower()] == 1 else item.name
        number = 1
        while name.lower() in seen:
            number += 1
            name = f'{base}_{number}'
        seen.add(name.lower())
        names.append(name)
    return names


class Stream:
    """The frames of a video or a camera, read by OpenCV, one in memory at a time.

    Args:
        item: Of a video or a camera.

    Attributes:
        rate: Frames per second; 0 if the file does not say.
        count: Number of frames; 0 of a camera, or if the file does not say.

    Raises:
        UnreadableImageError: The file is damaged or of an unknown kind.
        InputError: There is no such camera.
    """

    def __init__(self, item: Item) -> None:
        self._item = item
        self._capture = cv2.VideoCapture(item.path or item.camera)  # type: ignore[arg-type]
        if not self._capture.isOpened():
            if item.path:
                raise UnreadableImageError(item.path, 'not a video that OpenCV reads')
            raise InputError(f'camera {item.camera} cannot be opened: is there one, and is no other program using it?')
        self.rate = float(self._capture.get(cv2.CAP_PROP_FPS)) or 0.0
        self.count = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) if item.path else 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield frames, (H, W, 3) uint8 RGB.

        Raises:
            UnreadableImageError: A video has no frame that can be read.
        """
        number = 0
        try:
            while True:
                is_there, frame = self._capture.read()
                if not is_there:
                    break
                number += 1
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        finally:
            self._capture.release()
        if not number and self._item.path:
            raise UnreadableImageError(self._item.path, 'no frame of the video can be read')
