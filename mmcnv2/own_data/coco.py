"""Look at instances or boxes in COCO's format, and repair what can be repaired without guessing."""

import copy
import json
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as run_lengths

from mmcnv2.preflight.annotations import missing_files, read_json
from mmcnv2.preflight.coco import KEYS, annotation_problems, entry_problems, is_kept, repeated
from mmcnv2.utils.errors import InputError, MissingFileError
from mmcnv2.visualization import draw_boxes, draw_instances

from .images import (
    HELD_OUT,
    data_folder,
    hold_out,
    is_test,
    is_validation,
    look_at_headers,
    read_header,
    some,
    spell,
    spread,
    thumbnail,
)
from .plan import Options

#: Share of objects that must have masks for an instance segmentation; the others become regions to ignore.
_MOST_HAVE_MASKS = 0.9
_OTHER_FILES = ('captions', 'keypoints', 'image_info', 'panoptic', 'stuff', 'predictions', 'results')
_MOST_FILES = 20
_MANY = 10_000


@dataclass
class Part:
    """The images of training or of validation, in COCO's format, checked and repaired.

    Attributes:
        path: The annotation file.
        folder: That its file names are relative to.
        content: As COCO's format has it.
        changed: Whether it is no longer what the file has.
        notes: What was repaired or left out, by its kind: how often, and the first case.
    """

    path: Path
    folder: Path
    content: dict
    changed: bool = False
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def note(self, what: str, example: str, changed: bool = True) -> None:
        """Count something."""
        count, first = self.notes.get(what, (0, example))
        self.notes[what] = (count + 1, first)
        self.changed = self.changed or changed

    @property
    def objects(self) -> list[dict]:
        """The annotations that are objects, not regions to ignore."""
        images = {image['id']: image for image in self.content['images']}
        return [
            annotation
            for annotation in self.content['annotations']
            if not annotation.get('iscrowd') and is_kept(annotation, images[annotation['image_id']])
        ]


@dataclass
class Detection:
    """Data of a detector.

    Attributes:
        root: Folder of the data.
        train: What is trained on.
        val: What is held out.
        was_divided: Whether ``val`` was made from a part of the images.
        has_masks: Whether the objects have masks, or boxes only.
        seen: Lines for the user.
    """

    root: Path
    train: Part
    val: Part
    was_divided: bool
    has_masks: bool
    seen: list[str]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the file."""
        return tuple(category['name'] for category in self.train.content['categories'])

    def counts(self) -> dict[str, int]:
        """Return how many objects each class has to train on."""
        names = {category['id']: category['name'] for category in self.train.content['categories']}
        counted = Counter(names[annotation['category_id']] for annotation in self.train.objects)
        return {name: counted[name] for name in self.classes}

    def median_object(self) -> float:
        """Return the median side of objects to train on, the square root of their boxes' areas, in pixels."""
        sides = [(box[2] * box[3]) ** 0.5 for box in (annotation['bbox'] for annotation in self.train.objects)]
        return statistics.median(sides)

    def samples(self, most: int = 8, side: int = 320) -> list[np.ndarray]:
        """Return images with their objects drawn."""
        by_image: dict[Any, list[dict]] = {}
        for annotation in self.train.objects:
            by_image.setdefault(annotation['image_id'], []).append(annotation)
        labels = {category['id']: i for i, category in enumerate(self.train.content['categories'])}
        drawn = []
        for image in spread([image for image in self.train.content['images'] if image['id'] in by_image], most):
            small = thumbnail(str(self.train.folder / image['file_name']), side)
            if small is not None:
                drawn.append(self._draw(small, image, by_image[image['id']], labels))
        return drawn

    def _draw(
        self, small: np.ndarray, image: Mapping, annotations: Sequence[dict], labels: Mapping[int, int]
    ) -> np.ndarray:
        height, width = image['height'], image['width']
        scale = max(small.shape) / max(height, width)
        numbers = [labels[annotation['category_id']] for annotation in annotations]
        texts = [self.classes[number] if len(annotations) <= 8 else '' for number in numbers]
        if self.has_masks:
            masks = [_decode(annotation['segmentation'], height, width) for annotation in annotations]
            masks = [cv2.resize(mask, small.shape[1::-1], interpolation=cv2.INTER_NEAREST) for mask in masks]
            return draw_instances(small, np.stack(masks).astype(bool), numbers, texts)
        boxes = [(x, y, x + width, y + height) for x, y, width, height in (a['bbox'] for a in annotations)]
        return draw_boxes(small, scale * np.array(boxes), numbers, texts)


def look_at_coco(path: str, options: Options) -> Detection:
    """Find annotation files and images in a folder, check them, and hold out a part if none is.

    Args:
        path: Folder of the data, or an annotation file.
        options: Names files and folders that cannot be guessed.

    Raises:
        InputError: If files are missing, ambiguous or of no use; says what was found and what to name.
    """
    if os.path.isfile(path):
        if options.train:
            raise InputError(
                f'--train {options.train}: {path} is an annotation file already; with --train, give a folder'
            )
        root, train_file, val_file = Path(path).absolute().parent, Path(path).absolute(), None
        if options.val:
            val_file = _named(root, options.val, '--val')
    else:
        root = data_folder(path)
        train_file, val_file = _find_files(root, options)
    folders = [_named(root, name, '--images') for name in options.images]
    train = _read_part(root, train_file, folders[0] if folders else None)
    val = _read_part(root, val_file, folders[-1] if folders else None) if val_file else None
    return detection(root, train, val)


def detection(root: Path, train: Part, val: Part | None) -> Detection:
    """Check the parts, make them agree, and hold out images if there is no ``val``.

    Raises:
        InputError: If nothing is left to train on.
    """
    for part in (train, val):
        if part:
            _repair(part)
    if not train.objects:
        notes = '; '.join(_lines(train)) or 'it has no annotations'
        raise InputError(f'{train.path}: no object is left to train on ({notes})')
    _drop_root_category(train)
    if val:
        _same_categories(train, val)
    has_masks = _decide_masks([part for part in (train, val) if part])
    was_divided = val is None
    if val is None:
        train, val = _divide(train)
    seen = _seen(root, train, val, was_divided, has_masks)
    return Detection(root, train, val, was_divided, has_masks, seen)


# ---- which files ----


def _named(root: Path, name: str, option: str) -> Path:
    """Return what the user named, relative to the data or to where the command runs."""
    for path in (root / name, Path(name).absolute()):
        if path.exists():
            return path
    raise MissingFileError(f'{option} {name}: neither in {root} nor in {os.getcwd()}')


def _find_files(root: Path, options: Options) -> tuple[Path, Path | None]:
    if options.train:
        return _named(root, options.train, '--train'), _named(root, options.val, '--val') if options.val else None
    found = sorted(path for path in root.rglob('*.json') if not any(part.startswith('.') for part in path.parts))
    found = [path for path in found if not any(word in path.name.lower() for word in _OTHER_FILES)]
    if len(found) > _MOST_FILES:
        found = [path for path in found if 'annotation' in str(path).lower() or 'instances' in path.name.lower()]
    names = {path: str(path.relative_to(root)) for path in found}
    if not found:
        raise MissingFileError(
            f"no annotation file in {root}: expected a .json file in COCO's format, e.g. annotations/instances_train"
            '.json. Name it with --train FILE; for XML files of Pascal VOC take `mmcnv2 init voc`, for text files of '
            'YOLO `mmcnv2 init yolo`'
        )
    kinds: dict[str, list[Path]] = dict(train=[], val=[], test=[])
    for path in found:
        kinds['val' if is_validation(names[path]) else 'test' if is_test(names[path]) else 'train'].append(path)
    said = [path for path in kinds['train'] if 'train' in names[path].lower()]
    kinds['train'] = said or kinds['train']
    if len(kinds['train']) != 1 or len(kinds['val']) > 1:
        listed = some(names.values(), 10)
        raise InputError(
            f'{root} has {spell(len(found), "annotation file")}, and it is not clear which to train on and which to '
            f'validate on: {listed}. Name them: --train FILE --val FILE (without --val, every fifth image is held out)'
        )
    if options.val:
        return kinds['train'][0], _named(root, options.val, '--val')
    return kinds['train'][0], kinds['val'][0] if kinds['val'] else None


def _read_part(root: Path, path: Path, folder: Path | None) -> Part:
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in KEYS):
        got = f'the keys {some(content)}' if isinstance(content, dict) else f'a {type(content).__name__}'
        raise InputError(
            f"{path} is not in COCO's format: expected an object with {some(KEYS)}, each a list; got {got}"
        )
    names = [image['file_name'] for image in content['images'] if isinstance(image, dict) and 'file_name' in image]
    return Part(path, folder or _find_folder(root, path, [str(name) for name in names]), content)


def _find_folder(root: Path, path: Path, names: Sequence[str]) -> Path:
    """Return the folder that has the images."""
    tried = spread(names, 20)
    folders = [Path(folder) for folder, _, _ in os.walk(root) if not os.path.basename(folder).startswith('.')]
    words = {word for word in path.stem.lower().replace('-', '_').split('_')}
    # Folders named like the file first: train2017 for instances_train2017.json; then the file's own.
    folders.sort(key=lambda folder: (folder.name.lower() not in words, folder != path.parent, folder != root, folder))
    count = {folder: sum((folder / name).is_file() for name in tried) for folder in folders}
    best = max(folders, key=lambda folder: count[folder], default=root)
    if not count.get(best):
        example = names[0] if names else 'it names none'
        raise MissingFileError(
            f'the images of {path} are nowhere in {root}, for instance {example!r}: name their folder with --images '
            'FOLDER'
        )
    return best


# ---- repairs ----


def _repair(part: Part) -> None:
    """Leave out or mend what mmdet would stop at or train on in silence; every case is noted."""
    content = part.content = dict(part.content)
    categories = _merged_categories(part)
    listed = {image.get('id') for image in content['images'] if isinstance(image, dict)}
    content['images'] = _usable_images(part)
    images = {image['id']: image for image in content['images']}
    unusable = listed - images.keys()
    ids = {category['id'] for category in content['categories']}
    annotations = []
    for i, annotation in enumerate(content['annotations']):
        if isinstance(annotation, dict):
            annotation = dict(annotation)
            _fill(part, annotation, i, categories)
        problems = list(entry_problems(annotation, KEYS['annotations']))
        if not problems and annotation['image_id'] in unusable:
            continue  # said of the image
        if not problems:
            image = images.get(annotation['image_id'])
            problems = list(annotation_problems(annotation, image, ids, needs_masks=False))
        if problems:
            part.note('annotations that cannot be used are left out', f'annotations[{i}]: {problems[0]}')
            continue
        _clip(part, annotation, images[annotation['image_id']])
        if not is_kept(annotation, images[annotation['image_id']]):
            what = 'annotations without area, outside their image or marked ignore are skipped'
            part.note(what, f'id {annotation["id"]}', changed=False)
        annotations.append(annotation)
    if twice := repeated([annotation['id'] for annotation in annotations]):
        part.note('ids of annotations are there more than once: numbered anew', f'id {twice[0]}')
        for i, annotation in enumerate(annotations, 1):
            annotation['id'] = i
    content['annotations'] = annotations


def _merged_categories(part: Part) -> dict[Any, int]:
    """Make names of categories unique; return the id that stands for each id of the file."""
    first: dict[str, dict] = {}
    stands_for: dict[Any, int] = {}
    for i, category in enumerate(part.content['categories']):
        problems = list(entry_problems(category, KEYS['categories']))
        if problems:
            raise InputError(f'{part.path}: categories[{i}]: {problems[0]}. Every class needs a number and a name')
        if category['id'] in stands_for:
            raise InputError(f'{part.path}: categories: the id {category["id"]} is there more than once. Correct it')
        if category['name'] in first:
            part.note('classes of the same name are taken as one', repr(category['name']))
        stands_for[category['id']] = first.setdefault(category['name'], category)['id']
    part.content['categories'] = list(first.values())
    return stands_for


def _usable_images(part: Part) -> list[dict]:
    usable: dict[Any, dict] = {}
    paths = {}
    for i, image in enumerate(part.content['images']):
        if not isinstance(image, dict) or not isinstance(image.get('file_name'), str) or 'id' not in image:
            part.note('entries of images without id or file_name are left out', f'images[{i}]')
            continue
        if image['id'] in usable:
            other = usable[image['id']]
            if other['file_name'] != image['file_name']:
                raise InputError(
                    f'{part.path}: the image id {image["id"]!r} stands for {other["file_name"]} and '
                    f'{image["file_name"]}: whose boxes are whose is not known. Correct the ids'
                )
            part.note('images that are listed twice are taken once', image['file_name'])
            continue
        usable[image['id']] = dict(image)
        paths[str(part.folder / image['file_name'])] = image['id']
    if len(paths) > _MANY:
        print(f'looking at {len(paths):,} images', flush=True)  # takes a minute, for the 118,000 of COCO
    for path in missing_files(paths):
        image = usable.pop(paths[path])
        part.note('images without a file are left out', image['file_name'])
    for key, image in [*usable.items()]:
        size = read_header(str(part.folder / image['file_name']))
        if size is None:
            part.note('images that cannot be read are left out', image['file_name'])
            del usable[key]
        elif (image.get('width'), image.get('height')) != size[:2]:
            given = image.get('width'), image.get('height')
            if None in given:
                part.note('sizes of images are taken from the files', image['file_name'])
                image['width'], image['height'] = size[:2]
            else:
                part.note(
                    'images of another size than the file says are left out: their boxes would be misplaced',
                    f'{image["file_name"]} is {size[0]}x{size[1]}, not {given[0]}x{given[1]}',
                )
                del usable[key]
    return list(usable.values())


def _fill(part: Part, annotation: dict, index: int, categories: Mapping[Any, int]) -> None:
    """Add what mmdet and COCO's evaluation need and what follows from the rest."""
    box, category = annotation.get('bbox'), annotation.get('category_id')
    if isinstance(category, int) and categories.get(category, category) != category:
        annotation['category_id'] = categories[category]
        part.changed = True
    if 'id' not in annotation:
        annotation['id'] = index + 1
        part.note('annotations have no id: numbered', f'annotations[{index}]')
    if 'area' not in annotation and isinstance(box, list) and len(box) == 4:
        try:
            annotation['area'] = float(box[2] * box[3])
        except TypeError:
            return
        part.note('annotations have no area: that of the box is taken', f'annotations[{index}]')
    if 'iscrowd' not in annotation:
        annotation['iscrowd'] = 0
        part.note('annotations do not say iscrowd: 0 is taken', f'annotations[{index}]')


def _clip(part: Part, annotation: dict, image: dict) -> None:
    """Cut a box that is more than a pixel outside its image."""
    x, y, width, height = annotation['bbox']
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, image['width']), min(y + height, image['height'])
    outside = max(left - x, top - y, x + width - right, y + height - bottom)
    if outside > 1 and right > left and bottom > top:
        part.note('boxes that are partly outside their image are cut', f'id {annotation["id"]}')
        annotation['bbox'] = [left, top, right - left, bottom - top]


def _drop_root_category(part: Part) -> None:
    """Leave out a category of no object that only stands above the others, as some exporters write it."""
    content = part.content
    used = {annotation['category_id'] for annotation in content['annotations']}
    above = {category.get('supercategory') for category in content['categories']}
    for category in [*content['categories']]:
        if category['id'] not in used and category['name'] in above and len(content['categories']) > 1:
            content['categories'] = [other for other in content['categories'] if other is not category]
            part.note('classes without objects that only stand above others are left out', repr(category['name']))


def _same_categories(train: Part, val: Part) -> None:
    """Give ``val`` the categories of ``train``, by their names."""
    wanted, given = train.content['categories'], val.content['categories']
    if [(c['id'], c['name']) for c in wanted] == [(c['id'], c['name']) for c in given]:
        return
    ids = {category['name']: category['id'] for category in wanted}
    names = {category['id']: category['name'] for category in given}
    kept = []
    for annotation in val.content['annotations']:
        name = names[annotation['category_id']]
        if name in ids:
            kept.append(dict(annotation, category_id=ids[name]))
        else:
            val.note('objects of classes that the training part lacks are left out', repr(name))
    val.content.update(annotations=kept, categories=copy.deepcopy(wanted))
    val.note('lists of classes are made those of the training part', some(map(repr, names.values())))


def _decide_masks(parts: Sequence[Part]) -> bool:
    """Return whether to train on masks; then objects without one become regions to ignore."""
    objects = [(part, annotation) for part in parts for annotation in part.objects]
    without = [(part, annotation) for part, annotation in objects if not annotation.get('segmentation')]
    if len(without) > (1 - _MOST_HAVE_MASKS) * len(objects):
        if len(without) < len(objects):
            parts[0].notes['objects have no mask, so that boxes are trained on'] = (len(without), '')
        return False
    for part, annotation in without:
        x, y, width, height = annotation['bbox']
        corners = [x, y, x + width, y, x + width, y + height, x, y + height]
        annotation.update(segmentation=[corners], iscrowd=1)
        part.note('objects without a mask become regions to ignore', f'id {annotation["id"]}')
    for part in parts:  # mmdet wants a mask of everything
        content = part.content
        kept = [annotation for annotation in content['annotations'] if annotation.get('segmentation')]
        if len(kept) < len(content['annotations']):
            content['annotations'], part.changed = kept, True
    return True


def _divide(part: Part) -> tuple[Part, Part]:
    """Hold out every fifth image, of those with objects and of those without."""
    with_objects = {annotation['image_id'] for annotation in part.objects}
    images = sorted(part.content['images'], key=lambda image: image['file_name'])
    train, val = hold_out(image for image in images if image['id'] in with_objects)
    empty = [image for image in images if image['id'] not in with_objects]
    if len(empty) >= HELD_OUT:
        more = hold_out(empty)
        train, val = train + more[0], val + more[1]
    else:
        train += empty
    return tuple(_subset(part, chosen, i) for i, chosen in enumerate((train, val)))  # type: ignore[return-value]


def _subset(part: Part, images: Iterable[dict], number: int) -> Part:
    images = sorted(images, key=lambda image: image['file_name'])
    ids = {image['id'] for image in images}
    annotations = [annotation for annotation in part.content['annotations'] if annotation['image_id'] in ids]
    content = dict(part.content, images=images, annotations=annotations)
    return Part(part.path, part.folder, content, True, {} if number else part.notes)


# ---- what is said ----


def _lines(part: Part) -> list[str]:
    return [f'{count:,} {what}' + (f' ({first})' if first else '') for what, (count, first) in part.notes.items()]


def _seen(root: Path, train: Part, val: Part, was_divided: bool, has_masks: bool) -> list[str]:
    lines = []
    for name, part in (('train', train), ('val', val)):
        source = 'every fifth image held out' if was_divided and part is val else part.path
        folder = os.path.relpath(part.folder, root)
        lines.append(
            f'{name}: {spell(len(part.content["images"]), "image")}, {spell(len(part.objects), "object")} ({source}; '
            f'images in {folder})'
        )
    content = train.content
    classes = [category['name'] for category in content['categories']]
    lines.append(f'{spell(len(classes), "class", "classes")}: {some(classes, 12)}')
    used = {annotation['category_id'] for annotation in train.objects}
    if absent := [category['name'] for category in content['categories'] if category['id'] not in used]:
        lines.append(f'no object to train on: {some(absent, 12)}; leave these classes out, or they have AP -1 or 0')
    lines.append(_said_of_masks(train, has_masks))
    sizes = look_at_headers([str(train.folder / image['file_name']) for image in content['images']])
    lines.append(f'sizes: {sizes}')
    with_objects = {annotation['image_id'] for annotation in train.objects}
    if empty := len(content['images']) - len(with_objects):
        lines.append(f'{spell(empty, "image")} without objects: kept, as examples of background')
    ids = [image['id'] for image in content['images'] if isinstance(image['id'], int)]
    if ids and not was_divided and max(ids) - min(ids) + 1 > len(ids):
        lines.append(f'ids of images have gaps ({min(ids)} to {max(ids)} for {len(ids):,} images): no problem')
    for name, part in (('train', train), ('val', val)):
        lines += [f'{name}: {line}' for line in _lines(part)]
    return lines


def _said_of_masks(train: Part, has_masks: bool) -> str:
    objects = train.objects
    crowds = sum(bool(annotation.get('iscrowd')) for annotation in train.content['annotations'])
    said = 'boxes only: Faster R-CNN' if not has_masks else 'boxes and masks: Mask R-CNN'
    if has_masks:
        encoded = sum(isinstance(annotation['segmentation'], dict) for annotation in objects)
        said += f' ({len(objects) - encoded:,} masks are polygons, {encoded:,} run lengths)' if encoded else ''
    return said + (f'; {spell(crowds, "crowd")}, regions to ignore' if crowds else '')


def _decode(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """Return a mask (H, W) uint8 of 0 and 1."""
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
        encoded = run_lengths.merge(run_lengths.frPyObjects(polygons, height, width)) if polygons else None
    elif isinstance(segmentation['counts'], list):
        encoded = run_lengths.frPyObjects(segmentation, height, width)
    else:
        encoded = segmentation
    return np.zeros((height, width), np.uint8) if encoded is None else run_lengths.decode(encoded)


def as_json(part: Part) -> str:
    """Return the text of an annotation file."""
    return json.dumps(part.content)
