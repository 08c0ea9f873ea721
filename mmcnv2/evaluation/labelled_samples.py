"""Images with a class each: from class folders, from list files, or the objects of a file in COCO's format."""

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmcnv2.datasets.unlabelled_images import UnlabelledImages
from mmcnv2.utils.errors import InputError, MissingFileError

from .features import Sample

#: Sides of an object's window, relative to the longer side of its box.
CONTEXT = 1.2


@dataclass(frozen=True)
class LabelledSamples:
    """What a judge trains on and what it is tested on.

    Attributes:
        train: Samples with labels, indices of ``classes``.
        val: Likewise.
        classes: Names.
        notes: What was left out, and images on both sides, a line each.
    """

    train: list[Sample]
    val: list[Sample]
    classes: list[str]
    notes: tuple[str, ...] = ()


class CocoObject(NamedTuple):
    """An object of a file in COCO's format.

    Attributes:
        sample: Its window in the image, without a label.
        box: x, y, width and height in pixels.
        name: Of its class.
    """

    sample: Sample
    box: tuple[float, ...]
    name: str


def read_class_folders(train: str, val: str) -> LabelledSamples:
    """Read ``DIR/CLASS/.../IMAGE``, the layout of ImageNet.

    Raises:
        InputError: If a folder has no images, or images outside class folders, or ``val`` has a class that ``train``
            lacks.
    """
    return _labelled(_in_folders(train), _in_folders(val), train, val)


def read_lists(train: str, val: str, train_root: str = '', val_root: str = '') -> LabelledSamples:
    """Read list files with a line ``PATH LABEL`` for each image, as ImageNet's ``meta/train.txt``.

    Args:
        train: List file. Blank lines and those that start with ``#`` are skipped. A label is a number or a name
            without blanks.
        val: List file.
        train_root: Folder to which the paths of ``train`` are relative; '': that of the list file.
        val_root: Likewise.

    Raises:
        InputError: If a list is missing, empty, or has a line without a label, or ``val`` has a class that ``train``
            lacks.
    """
    return _labelled(_in_list(train, train_root), _in_list(val, val_root), train, val)


def read_coco(
    coco: str,
    images: str,
    val_coco: str | None = None,
    val_images: str | None = None,
    val_share: float = 0.3,
    min_side: float = 16,
    seed: int = 0,
) -> LabelledSamples:
    """Read the objects of a file in COCO's format, each as a window around its box.

    Crowds and boxes marked ``ignore`` are left out, small boxes too, and classes that are not on both sides.

    Args:
        coco: Annotation file.
        images: Folder of its images.
        val_coco: Annotation file of other images to test on; None: a part of the images of ``coco``.
        val_images: Folder of the images of ``val_coco``; None: ``images``.
        val_share: Part of the images to test on without ``val_coco``, in (0, 1).
        min_side: Shortest side of a box that is used, in pixels.
        seed: Chooses these images.

    Raises:
        InputError: If a file is none of COCO's format, or fewer than two classes are on both sides.
    """
    objects, num_left_out = _objects(coco, images, min_side)
    if val_coco is None:
        paths = sorted({sample.path for sample, _ in objects})
        order = np.random.default_rng(seed).permutation(len(paths))
        held_out = {paths[i] for i in order[: round(val_share * len(paths))]}
        train = [(sample, name) for sample, name in objects if sample.path not in held_out]
        val = [(sample, name) for sample, name in objects if sample.path in held_out]
    else:
        train = objects
        val, more = _objects(val_coco, val_images or images, min_side)
        num_left_out += more
    both = {name for _, name in train} & {name for _, name in val}
    if len(both) < 2:
        raise InputError(
            f'{coco}: {len(both)} classes have objects both among the {len(train)} to train on and the {len(val)} to '
            f'test on, and at least 2 are needed (boxes of at least {min_side:g} pixels; see --min-box, --val-share)'
        )
    one_sided = {name for _, name in (*train, *val)} - both
    notes = [f'{num_left_out} objects left out: crowds, ignored, or a side of less than {min_side:g} pixels']
    if one_sided:
        notes.append(f'{len(one_sided)} classes left out, whose objects are on one side only: {_some(one_sided)}')
    data = _labelled(
        [(sample, name) for sample, name in train if name in both],
        [(sample, name) for sample, name in val if name in both],
        coco,
        val_coco or coco,
    )
    return replace(data, notes=(*notes, *data.notes))


def object_window(box: Sequence[float], height: int, width: int) -> tuple[int, int, int, int]:
    """Return the window around a box: a square of ``CONTEXT`` times its longer side, as far as the image goes.

    A square that crosses an edge is moved into the image; one that is larger than the image is cut.

    Args:
        box: x, y, width and height in pixels, as in COCO's format.
        height: Of the image.
        width: Of the image.

    Returns:
        Top, left, height and width.
    """
    x, y, box_width, box_height = box
    side = max(1, round(CONTEXT * max(box_width, box_height)))
    rows, columns = min(side, height), min(side, width)
    top = round(y + box_height / 2 - rows / 2)
    left = round(x + box_width / 2 - columns / 2)
    return min(max(top, 0), height - rows), min(max(left, 0), width - columns), rows, columns


def choose_labels(samples: Sequence[Sample], per_class: int, seed: int) -> np.ndarray:
    """Return the indices of ``per_class`` samples of each class, drawn at random; of all where there are fewer."""
    labels = np.array([sample.label for sample in samples])
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = [order[labels[order] == label][:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def _labelled(
    train: list[tuple[Sample, str]], val: list[tuple[Sample, str]], train_source: str, val_source: str
) -> LabelledSamples:
    """Give labels to samples: classes in the order of their names, or of their values if all are numbers."""
    counts = Counter(name for _, name in train)
    if unknown := {name for _, name in val} - counts.keys():
        raise InputError(
            f'{val_source} has {len(unknown)} classes that {train_source} lacks: {_some(unknown)}. Both need the same'
        )
    if len(counts) < 2:
        raise InputError(f'{train_source} has one class, {next(iter(counts))!r}, and at least 2 are needed')
    are_numbers = all(name.isdecimal() for name in counts)
    classes = sorted(counts, key=int if are_numbers else None)
    index = {name: i for i, name in enumerate(classes)}

    def with_labels(side: list[tuple[Sample, str]]) -> list[Sample]:
        return [replace(sample, label=index[name]) for sample, name in side]

    shared = {os.path.abspath(sample.path) for sample, _ in train} & {
        os.path.abspath(sample.path) for sample, _ in val
    }
    note = f'{len(shared)} images are both learnt from and tested on, so that figures are too high: {_some(shared)}'
    return LabelledSamples(with_labels(train), with_labels(val), classes, (note,) if shared else ())


def _in_folders(folder: str) -> list[tuple[Sample, str]]:
    images = UnlabelledImages(folder)
    paths = [images.get_data_info(i)['img_path'] for i in range(len(images))]
    parts = [Path(path).relative_to(folder).parts for path in paths]
    if outside := [path for path, part in zip(paths, parts, strict=True) if len(part) == 1]:
        raise InputError(f'{folder} has images outside class folders, e.g. {outside[0]!r}: expected DIR/CLASS/IMAGE')
    return [(Sample(path), part[0]) for path, part in zip(paths, parts, strict=True)]


def _in_list(file: str, root: str) -> list[tuple[Sample, str]]:
    try:
        lines = Path(file).read_text().splitlines()
    except FileNotFoundError as error:
        raise MissingFileError(f'list file not found: {file}') from error
    samples = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith('#'):
            continue
        path, *label = line.strip().rsplit(maxsplit=1)
        if not label:
            raise InputError(f'{file}, line {number}: expected "PATH LABEL", got {line!r}')
        samples.append((Sample(os.path.join(root or os.path.dirname(file), path)), label[0]))
    if not samples:
        raise InputError(f'{file} names no images: expected lines "PATH LABEL"')
    return samples


def read_coco_objects(
    file: str, folder: str, order: Callable[[Mapping[str, Any]], Any], keep: Callable[[Mapping[str, Any]], bool]
) -> tuple[list[CocoObject], int]:
    """Read the objects of an annotation file in COCO's format, image by image.

    Args:
        file: Annotation file.
        folder: Folder of its images.
        order: What images are sorted by, given the record of one.
        keep: Whether an annotation counts, given its record.

    Returns:
        The objects that count, and how many do not.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is not in COCO's format.
    """
    content = _read_coco(file)
    try:
        names = {category['id']: str(category['name']) for category in content['categories']}
        images = {image['id']: image for image in content['images']}
        objects = []
        for annotation in sorted(content['annotations'], key=lambda one: order(images[one['image_id']])):
            image, box = images[annotation['image_id']], annotation['bbox']
            if keep(annotation):
                window = object_window(box, image['height'], image['width'])
                sample = Sample(os.path.join(folder, image['file_name']), window=window)
                objects.append(CocoObject(sample, tuple(box), names[annotation['category_id']]))
        return objects, len(content['annotations']) - len(objects)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is not in COCO's format: {type(error).__name__}: {error}") from error


def _objects(file: str, folder: str, min_side: float) -> tuple[list[tuple[Sample, str]], int]:
    """Return the objects of an annotation file, image by image, with their classes; and how many were left out."""

    def keep(annotation: Mapping[str, Any]) -> bool:
        left_out = annotation.get('iscrowd') or annotation.get('ignore') or min(annotation['bbox'][2:]) < min_side
        return not left_out

    objects, num_left_out = read_coco_objects(file, folder, lambda image: str(image['id']), keep)
    if not objects:
        raise InputError(f'{file} has no boxes of at least {min_side:g} pixels')
    return [(one.sample, one.name) for one in objects], num_left_out


def _read_coco(file: str) -> Mapping[str, Any]:
    try:
        content = json.loads(Path(file).read_text())
    except FileNotFoundError as error:
        raise MissingFileError(f'annotation file not found: {file}') from error
    except ValueError as error:
        raise InputError(f'{file} is no JSON file: {error}') from error
    if not isinstance(content, dict):
        raise InputError(f"{file} is not in COCO's format: expected an object, got a {type(content).__name__}")
    return content


def _some(names: set[str]) -> str:
    return ', '.join(sorted(names)[:5]) + (', ...' if len(names) > 5 else '')
