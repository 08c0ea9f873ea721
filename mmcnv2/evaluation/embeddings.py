"""Feature vectors of images or objects in a parquet file, written in parts so that a stopped run goes on.

Columns: ``path``; of objects ``box`` (x, y, width, height in pixels, as in COCO's format), ``label`` (name of the
class) and ``window`` (top, left, height, width of the square that the network saw); ``feature`` (list of float32).
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import print_log
from torch import nn

from mmcnv2.models.normalization import IMAGENET
from mmcnv2.utils.errors import ExistingFileError, InputError, MissingFileError, MissingPackageError
from mmcnv2.utils.files import written_whole

from .features import Sample, image_batches, pooled_features
from .labelled_samples import read_coco_objects

SETTINGS = b'mmcnv2'  # key of the file's metadata
PIECE = 8192  # rows that are compared at a time


class Item(NamedTuple):
    """What a row is computed from: an image or, with ``box`` and ``label``, an object of one."""

    sample: Sample
    box: tuple[float, ...] | None = None
    label: str | None = None


def read_objects(file: str, folder: str) -> list[Item]:
    """Read the objects of an annotation file in COCO's format, image by image; crowds and empty boxes are left out.

    Args:
        file: Annotation file.
        folder: Folder of its images.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is not in COCO's format, or has no objects.
    """

    def keep(annotation: Mapping[str, Any]) -> bool:
        return not annotation.get('iscrowd') and min(annotation['bbox'][2:]) > 0

    objects, _ = read_coco_objects(file, folder, lambda image: image['file_name'], keep)
    items = [Item(one.sample, tuple(map(float, one.box)), one.name) for one in objects]
    if not items:
        raise InputError(f'{file} has no objects with boxes')
    return items


def write_embeddings(
    backbone: nn.Module,
    items: Sequence[Item],
    out: Path,
    settings: Mapping[str, Any],
    image_size: int = 224,
    batch_size: int = 32,
    num_workers: int = 0,
    items_per_part: int = 2048,
) -> int:
    """Write a row for each item, in their order; those whose image cannot be read are left out.

    Parts are collected in ``OUT.parts``, and put together into ``out`` when all are there. Called again, after it was
    stopped, it goes on behind the last whole part; once all is done it does nothing.

    Args:
        backbone: See ``features.pool``.
        items: Images or objects.
        out: File to write.
        settings: What else the file should say about its origin; values of JSON.
        image_size: See ``image_batches``, as are ``batch_size`` and ``num_workers``.
        batch_size: See there.
        num_workers: See there.
        items_per_part: How many items at most are computed again after a stop.

    Returns:
        Number of rows.

    Raises:
        ExistingFileError: If the file, or its parts, are there and have other images, weights or settings.
        InputError: If none of the images can be read.
        MissingPackageError: If pyarrow is not installed.
    """
    parquet = import_parquet()
    described = dict(
        settings,
        objects=items[0].box is not None,
        image_size=image_size,
        normalization=[*map(list, getattr(backbone, 'normalization', IMAGENET))],  # mean and std
        weights=digest_of_weights(backbone),
        items=_digest(items),
    )
    if out.exists():
        if _settings(out) != described:
            raise ExistingFileError(f'{out} exists, with other images, weights or settings: choose another name')
        return parquet.ParquetFile(out).metadata.num_rows
    folder = out.with_name(f'{out.name}.parts')
    starts = [*range(0, len(items), items_per_part), len(items)]
    parts = {(start, end): folder / f'{start:09}-{end:09}.parquet' for start, end in pairwise(starts)}
    for path in folder.glob('*.parquet'):
        if path not in parts.values() or _settings(path) != described:
            raise ExistingFileError(
                f'{folder} has parts of another run, with other images, weights or settings: remove it, or choose '
                'another name'
            )
    for number, ((start, end), path) in enumerate(parts.items(), 1):
        if not path.exists():
            print_log(f'part {number} of {len(parts)}: items {start} to {end} of {len(items)}', 'current')
            samples = [item.sample for item in items[start:end]]
            found = [*pooled_features(backbone, samples, image_size, batch_size, num_workers)]
            kept = [items[start + i] for indices, _ in found for i in indices.tolist()]
            features = [row for _, batch in found for row in batch.numpy()]
            with written_whole(path) as temporary:
                parquet.write_table(_table(kept, features, described), temporary)
    num_rows = sum(parquet.ParquetFile(path).metadata.num_rows for path in parts.values())
    if not num_rows:
        raise InputError(f'none of {len(items)} images can be read, for instance {items[0].sample.path!r}')
    with written_whole(out) as temporary, parquet.ParquetWriter(temporary, parquet.read_schema(path)) as writer:
        for path in parts.values():
            writer.write_table(parquet.read_table(path))
    shutil.rmtree(folder)
    return num_rows


def nearest(file: Path, queries: Sequence[int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows of a file whose features are most similar, by cosine, to those of some of its rows.

    Args:
        file: From ``write_embeddings``; it is read in pieces.
        queries: Numbers of rows.
        count: How many to find for each, at most the rows of the file less one; the query itself is not among them.

    Returns:
        Numbers of rows (Q, count), the most similar first, and their cosines.
    """
    features = np.array(read_rows(file, queries)['feature'], dtype=np.float32)
    return nearest_to(file, features, count, without=queries)


def nearest_to(
    file: Path, features: np.ndarray, count: int, without: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows of a file whose features are most similar, by cosine, to others.

    Args:
        file: From ``write_embeddings``; it is read in pieces.
        features: (Q, D) float32, as the file's settings say they are computed.
        count: How many to find for each, at most those that there are.
        without: Number of a row for each that is not found; None: any may be.

    Returns:
        Numbers of rows (Q, count), the most similar first, and their cosines.
    """
    wanted = _unit(features)
    left_out = np.full(len(wanted), -1) if without is None else np.asarray(without)
    best: np.ndarray = np.full((len(wanted), 0), -np.inf)
    rows: np.ndarray = np.zeros((len(wanted), 0), dtype=np.int64)
    done = 0
    for batch in import_parquet().ParquetFile(file).iter_batches(PIECE, columns=['feature']):
        others = _unit(batch['feature'].flatten().to_numpy().reshape(len(batch), -1))
        numbers = np.arange(done, done + len(batch))
        done += len(batch)
        cosines = np.where(numbers == left_out[:, None], -np.inf, wanted @ others.T)
        best = np.concatenate([best, cosines], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(numbers, cosines.shape)], axis=1)
        order = np.argsort(-best, axis=1, kind='stable')[:, :count]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    kept = min(count, done - (without is not None))
    return rows[:, :kept], best[:, :kept]


def read_settings(file: Path) -> dict[str, Any]:
    """Return what a file says of how it was made: ``checkpoint``, ``stages``, ``image_size``, ``weights`` ...

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is none that ``write_embeddings`` has written.
    """
    if not file.is_file():
        raise MissingFileError(f'{file}: no such file; mmcnv2 embed writes it')
    settings = _settings(file)
    if settings is None:
        raise InputError(f'{file} is none that mmcnv2 embed has written')
    return settings


def row_images(rows: Mapping[str, Sequence[Any]], image_size: int) -> np.ndarray:
    """Read the images of rows, as the network saw them.

    Args:
        rows: From ``read_rows``.
        image_size: Side in pixels.

    Returns:
        (n, image_size, image_size, 3) uint8, RGB; grey where a file has vanished meanwhile.
    """
    paths = rows['path']
    windows = [tuple(window) for window in rows['window']] if 'window' in rows else [None] * len(paths)
    samples = [Sample(path, window=window) for path, window in zip(paths, windows, strict=True)]
    images = np.full((len(samples), image_size, image_size, 3), 128, dtype=np.uint8)
    for indices, read in image_batches(samples, image_size):
        images[indices] = read.permute(0, 2, 3, 1).numpy()
    return images


def read_rows(file: Path, numbers: Sequence[int]) -> dict[str, list]:
    """Return rows of a file by their numbers, as a list for each column."""
    parquet = import_parquet()
    content = parquet.ParquetFile(file)
    found: dict[int, dict[str, Any]] = {}
    start = 0
    for group in range(content.num_row_groups):
        end = start + content.metadata.row_group(group).num_rows
        if inside := sorted({number for number in numbers if start <= number < end}):
            rows = content.read_row_group(group).take([number - start for number in inside]).to_pylist()
            found |= dict(zip(inside, rows, strict=True))
        start = end
    return {name: [found[number][name] for number in numbers] for name in content.schema_arrow.names}


def import_parquet() -> ModuleType:
    """Return ``pyarrow.parquet``.

    Raises:
        MissingPackageError: If it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError('parquet files need pyarrow: pip install pyarrow') from error
    return pyarrow.parquet


def _table(items: Sequence[Item], features: Sequence[np.ndarray], settings: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    columns: dict[str, Any] = dict(path=pa.array([item.sample.path for item in items], pa.string()))
    if settings['objects']:
        columns['box'] = pa.array([item.box for item in items], pa.list_(pa.float32(), 4))
        columns['label'] = pa.array([item.label for item in items], pa.string())
        columns['window'] = pa.array([item.sample.window for item in items], pa.list_(pa.int32(), 4))
    columns['feature'] = pa.array(list(features), pa.list_(pa.float32()))
    return pa.table(columns).replace_schema_metadata({SETTINGS: json.dumps(settings)})


def _settings(path: Path) -> dict[str, Any] | None:
    """Return what a file says about its origin; None if it is none of ours."""
    parquet = import_parquet()
    try:
        return json.loads(parquet.read_schema(path).metadata[SETTINGS])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _digest(items: Sequence[Item]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(
            repr((item.sample.path, item.sample.window, item.box, item.label)).encode(errors='surrogateescape')
        )
    return digest.hexdigest()


def digest_of_weights(backbone: nn.Module) -> str:
    """Return what tells the weights of a network from others: ``weights`` of the settings."""
    digest = hashlib.sha256()
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)
