"""Images per second that one worker reads and augments for pre-training, beside the plain way to do it.

    python tools/analysis_tools/benchmark_data.py                           # on JPEG files it makes: 500 x 375
    python tools/analysis_tools/benchmark_data.py --make 4000 3000          # on larger ones
    python tools/analysis_tools/benchmark_data.py --data-root data/imagenet/train --json data.json
    python tools/analysis_tools/benchmark_data.py --shards --cold           # from tar shards as well

``plain`` is mmcv's LoadImageFromFile (OpenCV), a bicubic crop by OpenCV without antialiasing, from the same
distribution, mmcv's RandomFlip and a copy to a tensor. ``mmcnv2`` is the pipeline of the recipes, ``shards`` the same
reading from shards, into which the images are written in random order. All run in this process on one core and take
turns, 20 images each. What a data loader adds is the same for all, and left out.

A step's time is that of the pipeline up to its end, less that of the pipeline up to its start.
The line ``crops`` says how many crops are decoded at which fraction of the size, and by how much they then differ, in
levels of 255, from the same crop decoded at full size: with its edges rounded likewise, and with those drawn.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from measure import Table, environment
from mmcv.transforms import LoadImageFromFile, RandomFlip
from mmengine.structures import BaseDataElement

from mmcnv2.datasets import LoadRandomResizedCrop, PackUnlabelled, UnlabelledImages, UnlabelledShards
from mmcnv2.datasets.shards import write_shards
from mmcnv2.datasets.transforms.loading import ImageFile

TURN = 20  # images: long enough to have the processor's caches for oneself, as a worker has
STEPS = ['read', 'decode', 'crop, resize, flip', 'pack']


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-root', help='folder of images, searched with its sub-folders; default: make some')
    parser.add_argument(
        '--make', type=int, nargs=2, default=[500, 375], metavar=('WIDTH', 'HEIGHT'), help='their size'
    )
    parser.add_argument('--num-images', type=int, default=200, help='how many to make, or to take of the folder')
    parser.add_argument('--crop-size', type=int, default=224)
    parser.add_argument('--shards', action='store_true', help='write the images to tar shards, and read these, too')
    parser.add_argument('--cold', action='store_true', help="drop the files from the system's cache before each turn")
    parser.add_argument('--repeats', type=int, default=7, help='timed passes over the images of each pipeline')
    parser.add_argument('--json', help='write rows and environment to this file')
    args = parser.parse_args()
    for name in ('num_images', 'crop_size', 'repeats'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {getattr(args, name)}')
    if min(args.make) < 1:
        parser.error(f'--make needs a width and a height of at least 1, got {args.make}')
    return args


# ---- images ----


def make_photos(folder: str, count: int, width: int, height: int) -> None:
    """Write JPEG files as large as photographs of this size: at 500 x 375, about 90 kB.

    Light and colour vary at all scales, more at the larger ones, as in photographs, and there are edges.
    """
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = np.full((height, width, 3), 128, np.float32)
        for octave in range(1, math.ceil(math.log2(max(width, height))) + 1):
            shape = math.ceil(height / 2**octave) + 1, math.ceil(width / 2**octave) + 1
            noise = rng.normal(0, 4 + 2 * octave, (*shape, 1)) + rng.normal(0, octave, (*shape, 3))
            photo += cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        for _ in range(8):
            corners = rng.uniform(0, (width, height), (4, 2)).astype(np.int32)
            light = np.zeros((height, width, 3), np.float32)
            cv2.fillPoly(light, [corners], rng.normal(0, 30, 3).tolist())
            photo += light
        photo = np.clip(photo, 0, 255).astype(np.uint8)
        cv2.imwrite(f'{folder}/{number:04d}.jpg', photo, [cv2.IMWRITE_JPEG_QUALITY, 95])


def find_images(folder: str, count: int) -> list[str]:
    """Paths of ``count`` images, spread evenly over the folder."""
    dataset = UnlabelledImages(data_root=folder)
    count = min(count, len(dataset))
    return [dataset.get_data_info(i * len(dataset) // count)['img_path'] for i in range(count)]


def describe(paths: list[str]) -> str:
    """Number, mean size and mean length of the files."""
    files = [ImageFile(path) for path in paths]
    height, width = (np.mean([getattr(file, side) for file in files]) for side in ('height', 'width'))
    kilobytes = np.mean([Path(path).stat().st_size for path in paths]) / 1000
    return f'{len(paths)}, on average {width:.0f} x {height:.0f} pixels, {kilobytes:.0f} kB'


# ---- the two pipelines, each up to the end of every step ----


def plain(crop: LoadRandomResizedCrop) -> list[Callable[[str], Any]]:
    """The usual transforms, one by one."""
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
    """The transforms of the recipes, behind one that reads a file."""
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


def from_shards(paths: list[str], folder: str) -> Callable[[str], dict]:
    """Write the images to shards in random order; the function returned reads them there by their old paths."""
    order = np.random.permutation(len(paths))
    shards = write_shards((paths[i] for i in order), '/', folder, max_images=max(len(paths) // 4, 1), max_bytes=1e9)
    dataset = UnlabelledShards(shards, folder)
    places = {paths[i]: place for place, i in enumerate(order)}
    return lambda path: dataset.get_data_info(places[path])


# ---- measuring ----


def drop_from_cache(files: Iterable[str | Path]) -> None:
    """Have the next one who reads these files read the disk."""
    for file in files:
        with open(file, 'rb') as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compare_decoding(paths: list[str], crop: LoadRandomResizedCrop) -> dict[str, str]:
    """How often which fraction of the size is decoded, and what that changes."""
    differences = defaultdict(list)
    for path in paths:
        file = ImageFile(path)
        window = np.array(crop.sample_crop(file.height, file.width))
        divisor = crop.divisor(*window[2:])
        edges = (np.cumsum(window.reshape(2, 2), axis=0) + divisor // 2) // divisor * divisor
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
    parts: dict[Any, Callable[[str], Any]], paths: list[str], repeats: int, prepare: Callable[[list[str]], None]
) -> dict[Any, float]:
    """Mean seconds over the images, median of the passes. The parts take turns, so that a drift of speed hits all.

    ``prepare`` gets the images of a turn before it, untimed.
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


def measure(paths: list[str], folder: str, args: argparse.Namespace) -> None:
    """Print a row for each pipeline. Shards are written to ``folder``."""
    np.random.seed(0)
    crop = LoadRandomResizedCrop(args.crop_size)
    pipelines = dict(plain=plain(crop), mmcnv2=ours(crop, from_folder))
    if args.shards:
        pipelines['shards'] = ours(crop, from_shards(paths, f'{folder}/shards'))
    shards = list(Path(folder).glob('shards/*.tar'))
    prepare = (lambda turn: drop_from_cache([*turn, *shards])) if args.cold else (lambda turn: None)
    parts = {
        (name, step): part for name, pipeline in pipelines.items() for step, part in zip(STEPS, pipeline, strict=True)
    }
    about = dict(environment=environment('cpu'), images=describe(paths), crops=compare_decoding(paths, crop))
    seconds = seconds_per_image(parts, paths, args.repeats, prepare)

    columns = ['pipeline', *(f'{step} (ms)' for step in STEPS), 'images/s', 'mmcnv2 is faster by']
    table = Table(columns, args.json, **about)
    for name in pipelines:
        ends = [seconds[name, step] for step in STEPS]
        steps = {f'{step} (ms)': 1000 * s for step, s in zip(STEPS, np.diff(ends, prepend=0), strict=True)}
        speed_up = ends[-1] / seconds['mmcnv2', STEPS[-1]]
        table.add(pipeline=name, **steps, **{'images/s': 1 / ends[-1], 'mmcnv2 is faster by': speed_up})


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)  # as in a worker of a data loader
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        if args.data_root is None:
            make_photos(folder, args.num_images, *args.make)
        try:
            paths = find_images(args.data_root or folder, args.num_images)
        except FileNotFoundError as error:
            sys.exit(f'--data-root {args.data_root}: {error}')
        measure(paths, folder, args)


if __name__ == '__main__':
    main()
