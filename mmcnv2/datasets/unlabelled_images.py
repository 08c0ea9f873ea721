"""Images without labels: what self-supervised pre-training reads."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmcnv2.registry import DATASETS
from mmcnv2.utils.errors import InputError, MissingFileError

from .images import UnreadableImageError, UnsupportedImageError

#: Endings of the usual image files.
EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


@DATASETS.register_module()
class UnlabelledImages(BaseDataset):
    """All images of a folder, or those named in a list file. Labels are neither needed nor read.

    Without ``ann_file`` the folder ``data_root/data_prefix`` is searched with all its sub-folders, so
    flat, nested and class folders (ImageNet's layout) all work; hidden files and folders are skipped,
    links are followed. Paths are sorted: the order is the same on every machine.

    With ``ann_file`` the order is that of the list. It has one path per line, relative to
    ``data_root/data_prefix``; blank lines and lines that start with ``#`` are skipped; an integer
    label after the path, as in ImageNet's ``meta/train.txt``, is ignored. A missing file is noticed
    when it is read.

    An image that cannot be read is replaced by the next one and named in a warning, once. Such files
    are counted over all workers of the data loader; each process of distributed training counts its
    own.

    Args:
        data_root: Folder of the data set.
        data_prefix: Folder of the images, relative to ``data_root``, or (MMEngine's way)
            ``dict(img_path=...)``.
        ann_file: List file, relative to ``data_root``. '' searches the folder.
        extensions: Endings of image files, in upper or lower case.
        max_unreadable: How many different files may be unreadable before the run stops.
        pipeline: Transforms; the first is usually :class:`LoadRandomResizedCrop`.
        **kwargs: Further arguments of :class:`mmengine.dataset.BaseDataset`: ``indices``,
            ``lazy_init``, ``serialize_data`` ...

    Raises:
        MissingFileError: The folder or the list file is missing, the folder has no images, or none
            of the first files of the list exists.
        InputError: An argument is wrong, or the list file names no images.
        InputError: While reading: more than ``max_unreadable`` files, or all, are unreadable.
        UnreadableImageError: While reading: the folder of the images is gone.
    """

    def __init__(
        self,
        data_root: str = '',
        data_prefix: str | Mapping[str, str] = '',
        ann_file: str = '',
        extensions: Sequence[str] = EXTENSIONS,
        max_unreadable: int = 100,
        pipeline: Sequence[dict | Callable] = (),
        **kwargs: Any,
    ) -> None:
        if not isinstance(data_prefix, Mapping):
            data_prefix = dict(img_path=os.fspath(data_prefix))
        if set(data_prefix) != {'img_path'}:
            raise InputError(f"data_prefix must be dict(img_path='folder'), got {data_prefix}")
        if isinstance(extensions, str) or not all(ext.startswith('.') for ext in extensions):
            raise InputError(f"extensions must be a list such as ['.jpg', '.png'], got {extensions}")
        if max_unreadable < 0:
            raise InputError(f'max_unreadable must not be negative, got {max_unreadable}')
        self.extensions = tuple(ext.lower() for ext in extensions)
        self.max_unreadable = max_unreadable
        self._unreadable = torch.zeros(0, dtype=torch.bool)
        super().__init__(
            ann_file=os.fspath(ann_file),
            data_root=os.fspath(data_root),
            data_prefix=dict(data_prefix),
            pipeline=pipeline,
            **kwargs,
        )

    # ---- which files ----

    def full_init(self) -> None:
        """Find the images, unless they have been found already."""
        if not self._fully_initialized:
            super().full_init()
            self._forget_unreadable()

    def load_data_list(self) -> list[dict]:
        """Find the images.

        Returns:
            One ``dict(img_path=...)`` per image.
        """
        paths = self._read_list() if self.ann_file else self._search_folder()
        return [dict(img_path=path) for path in paths]

    def _search_folder(self) -> list[str]:
        folder = self.data_prefix['img_path']
        setting = 'Set data_root and data_prefix to the folder of the images'
        if not os.path.isdir(folder):
            raise MissingFileError(f'No folder {folder!r} (from {os.getcwd()!r}). {setting}.')
        paths = sorted(image_files(folder, self.extensions))
        if not paths:
            raise MissingFileError(
                f'No images in {folder!r} or its sub-folders: expected files that end in '
                f'{", ".join(self.extensions)}. {setting}, or set extensions.'
            )
        return paths

    def _read_list(self) -> list[str]:
        folder = self.data_prefix['img_path']
        if not os.path.isfile(self.ann_file):
            raise MissingFileError(
                f'No list file {self.ann_file!r} (from {os.getcwd()!r}). ann_file is relative to '
                "data_root; leave it '' to use all images of the folder."
            )
        # surrogateescape: a file name need not be valid UTF-8.
        with open(self.ann_file, encoding='utf-8-sig', errors='surrogateescape') as file:
            lines = (line.strip() for line in file)
            names = [self._without_label(line) for line in lines if line and line[0] != '#']
        if not names:
            raise InputError(
                f'List file {self.ann_file!r} names no images: expected one path a line, relative to {folder!r}.'
            )
        paths = [os.path.join(folder, name) for name in names]
        # A few files reveal a wrong folder; all could mean a million lookups on a network disk.
        if not any(os.path.exists(path) for path in paths[:20]):
            raise MissingFileError(
                f'The first files in list {self.ann_file!r} do not exist, for instance {paths[0]!r}. '
                'Paths are relative to data_root/data_prefix: correct these or the list.'
            )
        return paths

    def _without_label(self, line: str) -> str:
        # A number is a label only after a file extension: 'my photo 2.jpg 7' has the label 7,
        # 'my photo 2.jpg' and 'folder 2/photo 7' have none.
        name, *label = line.rsplit(maxsplit=1)
        if label and label[0].lstrip('-').isdecimal() and name.lower().endswith(self.extensions):
            return name
        return line

    # ---- reading ----

    @property
    def num_unreadable(self) -> int:
        """Number of different files found unreadable so far, by any worker."""
        return int(self._unreadable.sum())

    def prepare_data(self, idx: int) -> Any:
        """Read an image; if it is unreadable, the next one that is not.

        Args:
            idx: Index in [-len, len).

        Returns:
            The output of the pipeline.
        """
        length, last = len(self), None
        if not -length <= idx < length:
            raise IndexError(f'index {idx} is out of range for {length} images')
        for step in range(length):
            index = (idx + step) % length
            if self._unreadable[index]:
                continue
            try:
                return super().prepare_data(index)
            except UnreadableImageError as error:
                if not os.path.isdir(self.data_prefix['img_path']):
                    raise  # not just the image, the whole folder is gone
                last = error
                self._note_unreadable(index, error)
        raise self._too_many_unreadable(last)

    def _note_unreadable(self, index: int, error: UnreadableImageError) -> None:
        self._unreadable[index] = True
        kind = (
            'an image that needs another setting'
            if isinstance(error, UnsupportedImageError)
            else 'an unreadable image'
        )
        print_log(f'Skipped {kind}, {error}', logger='current', level=logging.WARNING)
        if self.num_unreadable > self.max_unreadable:
            raise self._too_many_unreadable(error) from error

    def _too_many_unreadable(self, last: UnreadableImageError | None) -> InputError:
        mend = 'Repair or remove the files'
        if isinstance(last, UnsupportedImageError):
            mend = f'The last one is not damaged: {last.reason}. Change that setting'
        indices = self._unreadable.nonzero().flatten().tolist()
        examples = ', '.join(repr(self.get_data_info(index)['img_path']) for index in indices[:5])
        return InputError(
            f'{len(indices)} of {len(self)} images are unreadable (allowed: max_unreadable='
            f'{self.max_unreadable}), for instance {examples}. {mend}, or raise '
            'max_unreadable.'
        )

    def _forget_unreadable(self) -> None:
        # One flag per image in shared memory: every worker, forked or spawned, sees and sets the
        # same ones, and a flag set twice counts once.
        self._unreadable = torch.zeros(len(self), dtype=torch.bool).share_memory_()

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._unreadable.share_memory_()  # deepcopy and pickle lose it; no effect if still shared

    # ---- subsets have flags of their own ----

    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep only some images, see :meth:`mmengine.dataset.BaseDataset.get_subset_`.

        Args:
            indices: Number of images from the start (negative: from the end), or their indices.
        """
        super().get_subset_(indices)
        self._forget_unreadable()

    def get_subset(self, indices: int | Sequence[int]) -> 'UnlabelledImages':
        """Return a dataset of some of the images, see :meth:`get_subset_`.

        Args:
            indices: Number of images from the start (negative: from the end), or their indices.

        Returns:
            The new dataset.
        """
        subset = super().get_subset(indices)
        subset._forget_unreadable()
        return subset


def image_files(folder: str, extensions: tuple[str, ...], parents: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
    """Yield the image files below a folder, unsorted, without a lookup per file."""
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in parents:  # a link to a folder above
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            if entry.is_dir():
                yield from image_files(entry.path, extensions, (*parents, identity))
            elif entry.name.lower().endswith(extensions):
                yield entry.path
