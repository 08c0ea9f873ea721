"""Read Pascal VOC's XML files as boxes in COCO's format."""

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from mmcnv2.utils.errors import InputError, MissingFileError

from .coco import Detection, Part, detection
from .images import data_folder, image_files, is_test, is_validation, some
from .plan import Options


def look_at_voc(path: str, options: Options) -> Detection:
    """Find XML files and their images, read them, and hold out a part if none is.

    Which images are for validation is said by ``ImageSets/Main/train.txt`` and ``val.txt``, else by folders named
    val or valid; files of folders named test are left alone.

    Raises:
        InputError: If there are none, or nothing is left to train on; names the file.
    """
    root = data_folder(path)
    files = sorted(file for file in root.rglob('*.xml') if not file.name.startswith('.'))
    if not files:
        raise MissingFileError(f"no .xml file in {root}: expected one of Pascal VOC's for each image")
    images = image_files(root)
    by_name = {os.path.basename(image): image for image in images}
    by_stem = {Path(image).stem: image for image in images}
    sets = {name: _names_in(root, name) for name in ('train', 'val')}

    content: dict = dict(images=[], annotations=[], categories=[])
    train, val = (Part(root, root, {key: [] for key in content}, changed=True) for _ in range(2))
    names: dict[str, int] = {}
    boxes: list[tuple[Part, int, ElementTree.Element, Path]] = []
    for number, file in enumerate(files, 1):
        tree = _parsed(file)
        if tree.tag != 'annotation':
            train.note("XML files that are not Pascal VOC's are left out", str(file.relative_to(root)))
            continue
        named = os.path.basename((tree.findtext('filename') or '').replace('\\', '/'))
        image = by_name.get(named) or by_stem.get(file.stem) or by_stem.get(Path(named).stem)
        if image is None:
            train.note('XML files without an image are left out', str(file.relative_to(root)))
            continue
        place = str(file.relative_to(root))
        if sets['train'] or sets['val']:
            part = val if file.stem in sets['val'] else train if file.stem in sets['train'] else None
        else:
            part = val if is_validation(place) else None if is_test(place) else train
        if part is None:
            continue  # of a test set
        part.content['images'].append(dict(id=number, file_name=os.path.relpath(image, root)))
        for element in tree.iter('object'):
            names.setdefault((element.findtext('name') or '').strip(), 0)
            boxes.append((part, number, element, file))
    for number, name in enumerate(sorted(names), 1):
        names[name] = number
    for part in (train, val):
        part.content['categories'] = [dict(id=number, name=name) for name, number in sorted(names.items())]
    for number, (part, image_id, element, file) in enumerate(boxes, 1):
        name = (element.findtext('name') or '').strip()
        box = _box(element)
        if box is None or not name:
            part.note('objects without a box or a name are left out', str(file.relative_to(root)))
            continue
        # What VOC calls difficult is neither trained on nor counted, as in its own evaluation.
        difficult = int((element.findtext('difficult') or '0').strip() == '1')
        part.content['annotations'].append(
            dict(
                id=number,
                image_id=image_id,
                category_id=names[name],
                bbox=box,
                area=box[2] * box[3],
                iscrowd=difficult,
            )
        )
    if not train.content['images']:
        raise InputError(f'{root}: none of {len(files)} XML files is left to train on: {some(_notes(train))}')
    return detection(root, train, val if val.content['images'] else None)


def _parsed(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise InputError(f'{file} is no valid XML, perhaps cut off: {error}') from error


def _names_in(root: Path, name: str) -> set[str]:
    """Return the images that a file of VOC's ``ImageSets/Main`` lists, without their endings."""
    found = sorted(root.rglob(f'ImageSets/Main/{name}.txt'))
    return {line.split()[0] for file in found for line in file.read_text().splitlines() if line.strip()}


def _box(element: ElementTree.Element) -> list[float] | None:
    """Return x, y, width and height: VOC counts pixels from 1, and the last one belongs to the box."""
    try:
        left, top, right, bottom = (float(element.findtext(f'bndbox/{side}') or '') for side in _SIDES)
    except ValueError:
        return None
    return [left - 1, top - 1, right - left + 1, bottom - top + 1]


_SIDES = ('xmin', 'ymin', 'xmax', 'ymax')


def _notes(part: Part) -> Iterator[str]:
    return (f'{count} {what} ({example})' for what, (count, example) in part.notes.items())
