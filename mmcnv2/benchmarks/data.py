"""Images per second that one process reads and augments for pre-training, beside the plain way to do it.

The help of ``mmcnv2 benchmark-data`` says what the pipelines are.
"""

import math
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile, RandomFlip
from mmengine.structures import BaseDataElement

from mmcnv2.datasets import LoadRandomResizedCrop, PackUnlabelled, UnlabelledImages, UnlabelledShards
from mmcnv2.datasets.images import ImageFile
from mmcnv2.datasets.shards import write_shards

from .measure import Table, environment

TURN = 20  # images: enough to fill the processor's caches, which a worker does not share with other pipelines
STEPS = ['read', 'decode', 'crop, resize, flip', 'pack']


# ---- images ----


def make_photos(folder: str, count: int, width: int, height: int) -> None:
    """Write JPEG files that have as many bytes as photographs of this size: at 500 x 375 pixels, about 90 kB.

    Light and colour vary at all scales, more at the larger ones, as in photographs, and there are edges.
    """
    rng = np.random.default_rng(0)
    for number in range(count):
        photo: np.ndarray = np.full((height, width, 3), 128, np.float32)
        for octave in range(1, math.ceil(math.log2(max(width, height))) + 1):
            shape = math.ceil(height / 2**octave) + 1, math.ceil(width / 2**octave) + 1
            noise = rng.normal(0, 4 + 2 * octave, (*shape, 1)) + rng.normal(0, octave, (*shape, 3))
            photo += cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        for _ in range(8):
            corners = rng.uniform(0, (width, height), (4, 2)).astype(np.int32)
            light = np.zeros((height, width, 3), np.float32)
            cv2.fillPoly(light, [corners], rng.normal(0, 30, 3).tolist())
            photo += light
        pixels = np.clip(photo, 0, 255).astype(np.uint8)
        cv2.imwrite(f'{folder}/{number:04d}.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])


def find_images(folder: str, count: int) -> list[str]:
    """Return the paths of ``count`` images, or of all if there are fewer, spread evenly over the folder.

    Raises:
        MissingFileError: If there is no such folder or there are no images in it.
    """
    dataset = UnlabelledImages(data_root=folder)
    count = min(count, len(dataset))
    return [dataset.get_data_info(i * len(dataset) // count)['img_path'] for i in range(count)]


def describe(paths: Sequence[str]) -> str:
    """Return number, mean size and mean length of the files as text."""
    files = [ImageFile(path) for path in paths]
    height, width = (np.mean([getattr(file, side) for file in files]) for side in ('height', 'width'))
    kilobytes = np.mean([Path(path).stat().st_size for path in paths]) / 1000
    return f'{len(paths)}, on average {width:.0f} x {height:.0f} pixels, {kilobytes:.0f} kB'


# ---- the pipelines: a list of functions of a path, each of which stops after one more step ----


def plain(crop: LoadRandomResizedCrop) -> list[Callable[[str], Any]]:
    """Return the pipeline of the usual transforms, one by one."""
    load, flip = LoadImageFromFile(), RandomFlip(prob=crop.flip_prob)

    def read(path: str) -> bytes:
        return Path(path).read_bytes()

    def decode(path: str) -> dict:
        results = load(dict(img_path=path))
        results['img'] = cv2.cvtColor(results['img'], cv2.COLOR_BGR2RGB)
        return results

    def augment(path: str) -> dict:
        results = decode(path)
        top, left, height, width = crop.sample_crop(*results['img'].shape[:2])
        window = results['img'][top : top + height, left : left + width]
        results['img'] = cv2.resize(window, crop.size[::-1], interpolation=cv2.INTER_CUBIC)
        results['img_shape'] = crop.size
        return flip(results)

    def pack(path: str) -> dict:
        results = augment(path)
        inputs = torch.from_numpy(np.ascontiguousarray(results['img'].transpose(2, 0, 1)))
        metainfo = {key: results[key] for key in ('img_path', 'img_shape', 'ori_shape')}
        return dict(inputs=inputs, data_samples=BaseDataElement(metainfo=metainfo))

    return [read, decode, augment, pack]


def ours(crop: LoadRandomResizedCrop, read: Callable[[str], dict]) -> list[Callable[[str], Any]]:
    """Return the pipeline of the recipes, after a function that reads a file."""
    to_sample = PackUnlabelled()

    def decode(path: str) -> np.ndarray:
        results = read(path)
        file = ImageFile(results['img_path'], results['img_bytes'])
        window = crop.sample_crop(file.height, file.width)
        return file.read(*window, crop.divisor(*window[2:]))

    def augment(path: str) -> dict:
        return crop(read(path))

    def pack(path: str) -> dict:
        return to_sample(augment(path))

    return [read, decode, augment, pack]


def from_folder(path: str) -> dict:
    return dict(img_path=path, img_bytes=Path(path).read_bytes())


def from_shards(paths: Sequence[str], folder: str) -> Callable[[str], dict]:
    """Write the images to shards in random order, and return the function that reads them from there by path."""
    order = np.random.permutation(len(paths))
    shards = write_shards((paths[i] for i in order), '/', folder, max_images=max(len(paths) // 4, 1), max_bytes=1e9)
    dataset = UnlabelledShards(shards, folder)
    indices = {paths[i]: index for index, i in enumerate(order)}
    return lambda path: dataset.get_data_info(indices[path])


# ---- measuring ----


def drop_from_cache(files: Iterable[str | Path]) -> None:
    """Drop these files from the system's cache, so that they are next read from the disk."""
    for file in files:
        with open(file, 'rb') as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compare_decoding(paths: Sequence[str], crop: LoadRandomResizedCrop) -> dict[str, str]:
    """Return how many crops are decoded at which fraction of the size, and how much that changes them.

    Differences are means over the pixels in levels of 255, from the same crop decoded at full size: with its edges
    rounded to the same pixels, and with the edges that were drawn.
    """
    differences = defaultdict(list)
    for path in paths:
        file = ImageFile(path)
        window = crop.sample_crop(file.height, file.width)
        divisor = crop.divisor(*window[2:])
        edges = (np.cumsum(np.reshape(window, (2, 2)), axis=0) + divisor // 2) // divisor * divisor
        edges = edges.clip(max=(file.height, file.width))
        rounded = np.diff(edges, axis=0, prepend=[[0, 0]]).flatten()
        used = crop.resize(file.read(*window, divisor)).astype(int)
        full = (crop.resize(file.read(*read)) for read in (rounded, window))
        differences[divisor].append([np.abs(used - other).mean() for other in full])
    return {
        f'1/{divisor}': f'{len(values) / len(paths):.0%}, mean difference {{:.2f}}, {{:.2f}}'.format(
            *np.mean(values, 0)
        )
        for divisor, values in sorted(differences.items())
    }


def seconds_per_image(
    parts: dict[Any, Callable[[str], Any]],
    paths: Sequence[str],
    repeats: int,
    prepare: Callable[[Sequence[str]], None],
) -> dict[Any, float]:
    """Return for each part the mean seconds over the images, of that the median of the passes.

    The parts take turns, so that a drift of the machine's speed affects all of them.

    Args:
        parts: Functions of a path.
        paths: Of the images.
        repeats: Timed passes over the images, after one that is not timed.
        prepare: Called with the images of a turn before the turn, untimed.
    """
    passes = defaultdict(list)
    for _ in range(1 + repeats):
        total = dict.fromkeys(parts, 0.0)
        for first in range(0, len(paths), TURN):
            for name, part in parts.items():
                prepare(paths[first : first + TURN])
                start = time.perf_counter()
                for path in paths[first : first + TURN]:
                    part(path)
                total[name] += time.perf_counter() - start
        for name in parts:
            passes[name].append(total[name] / len(paths))
    return {name: statistics.median(values[1:]) for name, values in passes.items()}  # the first pass warms up


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch and OpenCV compute on one thread, as in a worker of a data loader."""
    threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv2_threads)


def benchmark(
    paths: Sequence[str],
    crop_size: int,
    repeats: int,
    shard_folder: str | None = None,
    cold: bool = False,
    json: str | None = None,
) -> None:
    """Print a table with a row for each pipeline.

    A step's time is that of the pipeline up to its end, less that of the pipeline up to its start.

    Args:
        paths: Of the images.
        crop_size: Side of the crops in pixels.
        repeats: Timed passes over the images of each pipeline.
        shard_folder: Folder to make, with shards of the images to read as well; None: no shards.
        cold: Drop the files from the system's cache before each turn.
        json: File to write rows and environment to.
    """
    np.random.seed(0)
    crop = LoadRandomResizedCrop(crop_size)
    pipelines = dict(plain=plain(crop), mmcnv2=ours(crop, from_folder))
    shards: list[Path] = []
    if shard_folder is not None:
        pipelines['shards'] = ours(crop, from_shards(paths, shard_folder))
        shards = list(Path(shard_folder).glob('*.tar'))
    parts = {
        (name, step): part for name, pipeline in pipelines.items() for step, part in zip(STEPS, pipeline, strict=True)
    }
    about = dict(environment=environment('cpu'), images=describe(paths), crops=compare_decoding(paths, crop))
    prepare = (lambda turn: drop_from_cache([*turn, *shards])) if cold else (lambda turn: None)
    seconds = seconds_per_image(parts, paths, repeats, prepare)

    columns = ['pipeline', *(f'{step} (ms)' for step in STEPS), 'images/s', 'mmcnv2 is faster by']
    table = Table(columns, json, **about)
    for name in pipelines:
        ends = [seconds[name, step] for step in STEPS]
        steps = {f'{step} (ms)': 1000 * s for step, s in zip(STEPS, np.diff(ends, prepend=0), strict=True)}
        speed_up = ends[-1] / seconds['mmcnv2', STEPS[-1]]
        table.add(pipeline=name, **steps, **{'images/s': 1 / ends[-1], 'mmcnv2 is faster by': speed_up})
