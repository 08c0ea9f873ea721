"""Images without labels from tar shards, for data sets with more files than a file system handles well.

A shard is read by an index, as a data set of known length: every rank has the same number of batches, no image comes
twice in an epoch, a run can resume anywhere, and MMEngine's loaders and samplers do the rest. Format, writer and
patterns are webdataset's, the readers are not: ``WebDataset`` divides whole shards among ranks and workers, which is
uneven unless the numbers divide, and ``wids``, its indexed reader, gave the last rank less and is not in release 1.
"""

import os
from collections.abc import Sequence
from typing import Any

from mmcnv2.registry import DATASETS
from mmcnv2.utils.errors import InputError, MissingFileError

from .shards import expand_shards, read_index, read_member
from .unlabelled_images import UnlabelledImages


@DATASETS.register_module()
class UnlabelledShards(UnlabelledImages):
    """All images of some tar shards in WebDataset's format, in the order of the shards. Labels are not read.

    Each shard needs its index (:mod:`mmcnv2.datasets.shards`). Transforms get the file's content as
    ``img_bytes`` and, as ``img_path``, the path of the shard joined with the name in it. An unreadable
    image is treated as in :class:`UnlabelledImages`; an unreadable shard is an error.

    Args:
        shards: Names of the shards, relative to ``data_root``, with braces for many:
            ``'{000000..000127}.tar'``.
        data_root: Folder of the shards.
        ann_file: Must be ''.
        **kwargs: ``extensions``, ``max_unreadable``, ``pipeline`` and others of
            :class:`UnlabelledImages`.

    Raises:
        ImportError: webdataset is not installed.
        MissingFileError: A shard or its index is missing, or no shard has an image.
        InputError: An argument is wrong; here or while reading, a shard is cut off or does not fit its
            index; or, while reading, more than ``max_unreadable`` images, or all, are unreadable.
    """

    def __init__(self, shards: str | Sequence[str], data_root: str = '', ann_file: str = '', **kwargs: Any) -> None:
        if ann_file:
            raise InputError(f'shards take no list of images, got ann_file={ann_file!r}: use indices')
        self.shards = shards
        self._paths: list[str] = []
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find the images.

        Returns:
            One ``dict(shard=number, name=..., offset=..., size=...)`` per image.
        """
        self._paths = expand_shards(self.shards, self.data_prefix['img_path'])
        images = [
            dict(shard=number, **member._asdict())
            for number, path in enumerate(self._paths)
            for member in read_index(path)
            if member.name.lower().endswith(self.extensions)
        ]
        if not images:
            raise MissingFileError(
                f'No images in {len(self._paths)} shards, the first {self._paths[0]!r}: expected names that end in '
                f'{", ".join(self.extensions)}. Set shards or extensions.'
            )
        return images

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Read a file from its shard.

        Args:
            idx: Index in [-len, len).

        Returns:
            ``img_path``, ``img_bytes`` and ``sample_idx``.
        """
        info = super().get_data_info(idx)
        shard = self._paths[info['shard']]
        return dict(
            img_path=os.path.join(shard, info['name']),
            img_bytes=read_member(shard, info['offset'], info['size']),
            sample_idx=info['sample_idx'],
        )
