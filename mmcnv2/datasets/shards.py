"""Tar shards in WebDataset's format: thousands of images in one file, each read from its place by an index.

The index of ``000000.tar`` is ``000000.idx`` beside it, in the format of NVIDIA DALI's ``wds2idx`` (v1.2): a line with
version and number of samples, then a line per sample with extension, offset, size and name of each of its files.
"""

import functools
import itertools
import os
import re
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, NamedTuple

from mmcnv2.utils.errors import ExistingFileError, InputError, MissingFileError, MissingPackageError
from mmcnv2.utils.files import AtomicLocalBackend

_VERSION = 'v1.2'
_COMPONENT = re.compile(r'(.+?) (\d+) (\d+) (.+?\.\1)(?: |$)')  # a name ends in its extension; both may have spaces
_MAX_OPEN = 64  # shards that a process keeps open


class Member(NamedTuple):
    """A file in a shard: its name, where its bytes start, and how many there are."""

    name: str
    offset: int
    size: int


def expand_shards(patterns: str | Sequence[str], folder: str = '') -> list[str]:
    """Return the paths of shards.

    Args:
        patterns: Names with braces, as in ``'{000000..000127}.tar'``, relative to ``folder``.
        folder: Folder of the shards.

    Returns:
        The paths in the order of the patterns; whether the files exist is not checked.

    Raises:
        ImportError: webdataset is not installed.
        InputError: There is no pattern.
    """
    if not patterns:
        raise InputError(f"shards={patterns!r} names none: expected names as in '{{000000..000127}}.tar'")
    expand_urls = _webdataset().shardlists.expand_urls
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return [os.path.join(folder, name) for pattern in patterns for name in expand_urls(pattern)]


def _webdataset() -> ModuleType:
    try:
        import webdataset
    except ImportError as error:
        raise MissingPackageError('tar shards need webdataset: pip install webdataset') from error
    return webdataset


# ---- writing ----


def write_shards(paths: Iterable[str], root: str, folder: str, max_images: int, max_bytes: float) -> str:
    """Write images to shards with indices. The same images in the same order give the same bytes.

    ``root/dogs/rex.1.JPEG`` as number 12 becomes ``dogs/00000012_rex_1.jpeg``: to WebDataset, files with the same name
    up to the first dot are one sample.

    Args:
        paths: Image files, in the order in which they are written.
        root: Folder of the images, or one above it, which is left out of their names.
        folder: Folder to make; it gets its name when everything is written.
        max_images: Number of images after which a shard ends.
        max_bytes: Bytes of images after which a shard ends.

    Returns:
        The names of the shards, with braces.

    Raises:
        ImportError: webdataset is not installed.
        FileExistsError: The folder exists already, or that of an unfinished run does.
        InputError: An image is not below ``root`` or has no extension.
    """
    folder = os.path.abspath(folder)
    unfinished = f'{folder}.part'
    for path in (folder, unfinished):
        if os.path.lexists(path):
            raise ExistingFileError(f'{path!r} exists already: remove it, or name another folder')
    os.makedirs(unfinished)
    try:
        writer = _webdataset().ShardWriter(
            os.path.join(unfinished.replace('%', '%%'), '%06d.tar'),
            maxcount=max_images,
            maxsize=max_bytes,
            post=write_index,
            verbose=0,
            encoder=False,
            mtime=0,
            format='PAX_FORMAT',  # names of any length
        )
        for number, path in enumerate(paths):
            writer.write(_sample(number, path, root))
        last = writer.shard - 1
        writer.close()
        os.rename(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    return f'{{000000..{last:06d}}}.tar' if last else '000000.tar'


def _sample(number: int, path: str, root: str) -> dict[str, str | bytes]:
    """Return what webdataset writes: a key, and the content by its extension."""
    parent, name = os.path.split(os.path.relpath(path, root))
    stem, extension = os.path.splitext(name)
    if parent.startswith('..') or not extension:
        raise InputError(f'{path!r} must lie below {root!r} and have an extension')
    key = os.path.join(parent, f'{number:08d}_{stem.replace(".", "_")}')
    return {'__key__': key, extension[1:].lower(): Path(path).read_bytes()}


# ---- the index ----


def index_path(shard: str) -> str:
    """Return the path of a shard's index."""
    return os.path.splitext(shard)[0] + '.idx'


def write_index(shard: str) -> int:
    """Index a shard by reading the headers of all its files.

    Args:
        shard: Path of a tar file, not compressed.

    Returns:
        Number of samples.

    Raises:
        InputError: The shard is not a tar file, is compressed or cut off, or has no files with an extension.
    """
    try:
        with open(shard, 'rb') as file:
            members = list(_scan(file))
    except tarfile.TarError as error:
        raise InputError(f'Shard {shard!r} is no whole, uncompressed tar file: {error}') from error
    samples = [list(group) for _, group in itertools.groupby(members, lambda member: _split_name(member.name)[0])]
    if not samples:
        raise InputError(f'Shard {shard!r} has no files with an extension')
    lines = [f'{_VERSION} {len(samples)}']
    for sample in samples:
        lines.append(' '.join(f'{_split_name(name)[1]} {offset} {size} {name}' for name, offset, size in sample))
    AtomicLocalBackend().put('\n'.join([*lines, '']).encode('utf-8', 'surrogateescape'), index_path(shard))
    return len(samples)


def _scan(file: BinaryIO) -> Iterator[Member]:
    """Yield the files of a tar file that have an extension and are not hidden."""
    with tarfile.open(fileobj=file, mode='r:') as archive:
        for info in archive:
            if info.isreg() and all(_split_name(info.name)):
                yield Member(info.name, info.offset_data, info.size)
        # tarfile takes a cut before or within a header for the end of the archive.
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError('it is cut off')


def _split_name(name: str) -> tuple[str, str]:
    """Return key and extension: WebDataset splits a file's name at its first dot. A hidden file has no key."""
    folder, _, file = name.rpartition('/')
    stem, _, extension = file.partition('.')
    return (f'{folder}/{stem}' if stem else ''), extension


def read_index(shard: str) -> list[Member]:
    """Return the files in a shard.

    Args:
        shard: Path of the tar file.

    Returns:
        Those with an extension, in the order of the shard.

    Raises:
        MissingFileError: The shard or its index is missing.
        InputError: The shard is shorter than its index says, or the index is not one.
    """
    if not os.path.isfile(shard):
        raise MissingFileError(f'No shard {shard!r} (from {os.getcwd()!r}): correct data_root or shards')
    path = index_path(shard)
    remedy = f'make it with: python tools/dataset_tools/index_shards.py {shard!r}'
    if not os.path.isfile(path):
        raise MissingFileError(f'Shard {shard!r} has no index {path!r}: {remedy}')
    with open(path, encoding='utf-8', errors='surrogateescape', newline='\n') as file:
        version, _, count = file.readline().strip().partition(' ')
        samples = [_COMPONENT.findall(line.rstrip('\n')) for line in file]
    if version != _VERSION or count != str(len(samples)) or not samples or not all(samples):
        raise InputError(f'{path!r} is no whole index of version {_VERSION}: {remedy}')
    members = [Member(name, int(offset), int(size)) for sample in samples for _, offset, size, name in sample]
    _check_length(shard, max(member.offset + member.size for member in members))
    return members


# ---- reading ----


def read_member(shard: str, offset: int, size: int) -> bytes:
    """Return the bytes of a file in a shard, which stays open.

    Args:
        shard: Path of the tar file.
        offset: Offset of the file's first byte.
        size: Number of bytes.

    Returns:
        The bytes.

    Raises:
        MissingFileError: The shard is missing.
        InputError: The shard is cut off, or is not the one of its index.
    """
    # With its header. pread uses no file position, which workers that inherit the open file would share.
    data = os.pread(_open(shard).fileno(), tarfile.BLOCKSIZE + size, offset - tarfile.BLOCKSIZE)
    if len(data) < tarfile.BLOCKSIZE + size:
        _check_length(shard, offset + size)
    try:
        fits = tarfile.TarInfo.frombuf(data[: tarfile.BLOCKSIZE], 'utf-8', 'surrogateescape').size == size
    except tarfile.HeaderError:
        fits = False
    if not fits:
        raise InputError(f'Shard {shard!r} is not the one of its index: no file of {size} bytes at {offset}')
    return data[tarfile.BLOCKSIZE :]


@functools.lru_cache(_MAX_OPEN)
def _open(shard: str) -> BinaryIO:
    return open(shard, 'rb', buffering=0)


def _check_length(shard: str, needed: int) -> None:
    length = os.path.getsize(shard)
    if length < needed:
        raise InputError(f'Shard {shard!r} is cut off: {length} bytes, its index needs {needed}')
