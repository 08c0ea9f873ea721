"""Write the toy scenes to disk as unlabelled images, COCO annotations and label maps."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from mmcnv2.utils.cores import num_cores
from mmcnv2.utils.errors import ExistingFileError, InputError
from mmcnv2.utils.files import AtomicLocalBackend

from .objects import CLASSES
from .scene import Scene, render_scene

#: Increase it whenever the same seed gives different files.
GENERATOR_VERSION = 2

_DONE = 'toy_scenes.json'
_UNFINISHED = 'toy_scenes.unfinished.json'
_LABELLED = ('train', 'val')
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]


@dataclass(frozen=True)
class _Parameters:
    """Everything the written files depend on; the content of ``toy_scenes.json``."""

    generator_version: int
    seed: int
    image_size: int
    num_unlabelled: int
    num_train: int
    num_val: int

    def count(self, split: str) -> int:
        return int(getattr(self, f'num_{split}'))

    def files(self) -> Iterator[str]:
        """Yield every file of this data set but ``toy_scenes.json``, relative to its folder."""
        for split in ('unlabelled', *_LABELLED):
            for i in range(self.count(split)):
                yield f'{split}/{i:06d}.jpg'
                if split in _LABELLED:
                    yield f'semantic/{split}/{i:06d}.png'
        for split in _LABELLED:
            yield f'annotations/instances_{split}.json'


def write_toy_scenes(
    out: str | os.PathLike[str] = 'data/toy_scenes',
    num_unlabelled: int = 2000,
    num_train: int = 300,
    num_val: int = 100,
    image_size: int = 128,
    seed: int = 0,
    workers: int | None = None,
    force: bool = False,
) -> bool:
    """Write the data set to the folder ``out``, unless it is already there.

    Image i of a split depends only on (seed, split, i), so the files are the same with any number
    of workers, and a larger data set starts with the images of a smaller one. An interrupted write
    starts again. Only files that an earlier call wrote are ever replaced.

    Args:
        out: folder to write; made if missing.
        num_unlabelled: images without labels, >= 0.
        num_train: labelled training images, >= 0.
        num_val: labelled validation images, >= 0.
        image_size: side of the square images, a positive multiple of 32.
        seed: seed of the data set, >= 0.
        workers: processes to render with; None means one per available core, fewer for few images.
        force: replace toy scenes with other parameters in ``out``.

    Returns:
        True if files were written, False if they were already there.

    Raises:
        ValueError: if ``image_size`` is not a positive multiple of 32, or a number is negative.
        FileExistsError: if ``out`` holds toy scenes with other parameters and ``force`` is False,
            or files of the same names that this function did not write.
    """
    if image_size <= 0 or image_size % 32:
        raise InputError(f'image_size must be a positive multiple of 32, got {image_size}')
    wanted = _Parameters(GENERATOR_VERSION, seed, image_size, num_unlabelled, num_train, num_val)
    for name, value in asdict(wanted).items():
        if value < 0:
            raise InputError(f'{name} must not be negative, got {value}')
    if workers is not None and workers < 1:
        raise InputError(f'workers must be at least 1, got {workers}')
    root = Path(out)
    if _already_there(root, wanted, force):
        return False

    _write_json(root / _UNFINISHED, asdict(wanted))
    (root / _DONE).unlink(missing_ok=True)
    for split in ('unlabelled', *_LABELLED):
        (root / split).mkdir(parents=True, exist_ok=True)
    for folder in ('annotations', *(f'semantic/{split}' for split in _LABELLED)):
        (root / folder).mkdir(parents=True, exist_ok=True)
    annotations = _write_images(root, wanted, workers)
    for split in _LABELLED:
        _write_json(
            root / 'annotations' / f'instances_{split}.json',
            _coco(annotations[split], wanted),
        )
    _write_json(root / _DONE, asdict(wanted))
    (root / _UNFINISHED).unlink()
    return True


def _already_there(root: Path, wanted: _Parameters, force: bool) -> bool:
    """Return True if ``root`` holds what is wanted; otherwise make room for it, or raise."""
    done, unfinished = _read_parameters(root / _DONE), _read_parameters(root / _UNFINISHED)
    if done == wanted and unfinished is None:
        return True
    if done is not None and done != wanted and not force:
        changes = ', '.join(
            f'{name} {value} (wanted {getattr(wanted, name)})'
            for name, value in asdict(done).items()
            if value != getattr(wanted, name)
        )
        raise ExistingFileError(
            f'{root} holds toy scenes with other parameters: {changes}. '
            'Choose another folder, or replace them with --force (force=True).'
        )
    ours = {name for old in (done, unfinished) if old is not None for name in old.files()}
    for name in wanted.files():
        if name not in ours and (root / name).exists():
            raise ExistingFileError(
                f'{root / name} exists already and was not written by this tool; choose another folder.'
            )
    # A smaller data set must not keep the rest of a larger one: users list folders.
    for name in ours:
        (root / name).unlink(missing_ok=True)
    return False


def _read_parameters(path: Path) -> _Parameters | None:
    if not path.is_file():
        return None
    try:
        return _Parameters(**json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise ExistingFileError(
            f'{path} was not written by this version of the tool; choose another folder.'
        ) from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write whole or not at all: a file that exists is complete."""
    text = json.dumps(content, indent=None if 'images' in content else 2) + '\n'
    AtomicLocalBackend().put(text.encode(), path)


def _write_images(root: Path, wanted: _Parameters, workers: int | None) -> dict[str, list[list[dict[str, Any]]]]:
    """Render and save every image; return the annotations of the labelled images, by split."""
    jobs = [
        (str(root), split, i, wanted.seed, wanted.image_size)
        for split in (*_LABELLED, 'unlabelled')
        for i in range(wanted.count(split))
    ]
    if workers is None:  # starting a process takes as long as rendering about a hundred images
        workers = min(num_cores(), 1 + len(jobs) // 100)
    found: dict[str, list[list[dict[str, Any]]]] = {split: [] for split in _LABELLED}
    with tqdm(total=len(jobs), desc='toy scenes', unit='img') as bar:
        for job, objects in zip(jobs, _run(jobs, workers), strict=True):
            if job[1] in found:
                found[job[1]].append(objects)
            bar.update()
    return found


def _run(jobs: list[tuple], workers: int) -> Iterator[list[dict[str, Any]]]:
    """Yield ``_write_one`` of every job, in order."""
    if workers <= 1:
        yield from map(_write_one, jobs)
        return
    # Not fork: the caller may run threads (OpenMP, data loaders), which do not survive a fork.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(_write_one, jobs, chunksize=8)


def _write_one(job: tuple[str, str, int, int, int]) -> list[dict[str, Any]]:
    """Render one image, save it, and return its annotations without their ids."""
    root, split, index, seed, image_size = job
    scene = render_scene(index, split, seed, image_size)
    _save(f'{root}/{split}/{index:06d}.jpg', scene.image[..., ::-1], _JPEG)
    if split not in _LABELLED:
        return []
    _save(f'{root}/semantic/{split}/{index:06d}.png', scene.semantic, [])
    return annotate(scene)


def _save(path: str, image: np.ndarray, options: list[int]) -> None:
    if not cv2.imwrite(path, np.ascontiguousarray(image), options):
        raise OSError(f'cannot write {path}')


def annotate(scene: Scene) -> list[dict[str, Any]]:
    """Return COCO annotations of the visible part of each object, without ``id`` and ``image_id``.

    The masks are run-length encoded, since occlusion can split an object into parts and leave holes,
    and so that they agree with the label map in every pixel.
    """
    from pycocotools import mask as coco_mask  # compiled; only writing needs it

    out = []
    for k, label in enumerate(scene.labels):
        mask = scene.instances == k + 1
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        x, y = int(columns[0]), int(rows[0])
        out.append(
            {
                'category_id': label,
                'bbox': [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
                'area': int(mask.sum()),
                'iscrowd': 0,
                'segmentation': {'size': list(code['size']), 'counts': code['counts'].decode()},
            }
        )
    return out


def _coco(objects: list[list[dict[str, Any]]], wanted: _Parameters) -> dict[str, Any]:
    size = wanted.image_size
    images = [{'id': i + 1, 'file_name': f'{i:06d}.jpg', 'width': size, 'height': size} for i in range(len(objects))]
    flat = [(i + 1, item) for i, items in enumerate(objects) for item in items]
    return {
        'info': {'description': 'mmcnv2 toy scenes', 'version': str(wanted.generator_version)},
        'images': images,
        'annotations': [{'id': n + 1, 'image_id': i, **item} for n, (i, item) in enumerate(flat)],
        'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(CLASSES)],
    }
