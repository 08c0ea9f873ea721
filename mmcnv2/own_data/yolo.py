"""Read YOLO's text files, with the ``data.yaml`` that Ultralytics writes, as boxes and masks in COCO's format."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from mmcnv2.preflight.coco import Problems
from mmcnv2.utils.errors import InputError, MissingFileError

from .coco import Detection, Part, detection
from .images import data_folder, image_files, is_test, is_validation, read_header, some, spell
from .plan import Options

#: How far a share of the image may be outside of 0 to 1: what is left of rounding to three digits.
_ROUNDING = 1e-3
_CLASSES = 'classes.txt'
#: Text files that may lie beside images and are no labels.
_NO_LABELS = (_CLASSES, 'train.txt', 'val.txt', 'test.txt')


def look_at_yolo(path: str, options: Options) -> Detection:
    """Find images and their label files, read them, and hold out a part if none is.

    A line is ``class cx cy w h``, a box, or ``class x1 y1 x2 y2 x3 y3 ...``, a polygon, in shares of the image's width
    and height. ``data.yaml`` names classes and parts; without it ``classes.txt`` or ``options.classes`` name the
    classes, and folders named val or valid are for validation. The labels of ``images/a.jpg`` are ``labels/a.txt``
    where a folder ``images`` is above the image, else they lie beside it. No file and an empty file mean no objects.

    Args:
        path: Folder of the data, or its ``data.yaml``.
        options: Parts (a folder of images or a list of them) and classes that differ from those of ``data.yaml``.

    Raises:
        InputError: If there are no images or labels, or a line cannot be read; names file and line.
    """
    data = _read_description(path)
    names = [*options.classes] or data.names or _listed_classes(data.root)
    if not names:
        raise InputError(
            f'{data.root}: the classes have no names: expected `names` in data.yaml, a {_CLASSES} with a name a line, '
            'or --classes NAME NAME ...'
        )
    categories = [dict(id=number, name=name) for number, name in enumerate(names)]
    train, val = (
        Part(data.file or data.root, data.root, dict(images=[], annotations=[], categories=categories), changed=True)
        for _ in range(2)
    )
    if data.note:
        train.note(*data.note)
    train_images, val_images = _images_of_parts(data, options)
    problems, number = Problems(max_shown=3), 0
    for part, images in ((train, train_images), (val, val_images)):
        number = _read_labels(part, images, len(names), number, problems)
    if problems:
        more = f' and {problems.count - len(problems.shown)} more' if problems.count > len(problems.shown) else ''
        raise InputError(f'{"; ".join(problems.shown)}{more}. Correct or remove these lines')
    if not train.content['annotations']:
        example = label_file(train_images[0])
        raise InputError(
            f'no image to train on has labels: looked for instance for {example}, which '
            f'{"is empty" if example.is_file() else "is absent"}'
        )
    for file in _without_image([*train_images, *val_images]):
        train.note('label files without an image are left out', os.path.relpath(file, data.root))
    if both := sorted({*map(str, train_images)} & {*map(str, val_images)}):
        val.note('images are also trained on: the validation flatters', os.path.relpath(both[0], data.root))
    return detection(data.root, train, val if val.content['images'] else None)


def label_file(image: Path) -> Path:
    """Return where the labels of an image are: in ``labels`` in place of the last folder ``images``, or beside it."""
    parts = [*image.parts[:-1]]
    if 'images' in parts:
        parts[len(parts) - 1 - parts[::-1].index('images')] = 'labels'
    return Path(*parts, f'{image.stem}.txt')


# ---- data.yaml ----


@dataclass
class _Description:
    """What ``data.yaml`` says, or what a folder has without one.

    Attributes:
        root: Folder that its paths are relative to.
        file: The file itself.
        names: Of the classes, in the order of their numbers.
        parts: Folders or lists of images of 'train' and 'val'.
        note: A kind of remark and its case, see ``Part.note``.
    """

    root: Path
    file: Path | None
    names: list[str]
    parts: dict[str, list[str]]
    note: tuple[str, str] | None = None


def _read_description(path: str) -> _Description:
    if os.path.isfile(path):
        file: Path | None = Path(path).absolute()
    else:
        root = data_folder(path)
        found = sorted(file for ending in ('yaml', 'yml') for file in root.glob(f'*.{ending}'))
        found = [file for file in found if file.stem == 'data'] or found
        if len(found) > 1:
            listed = some(file.name for file in found)
            raise InputError(f'{root} has several .yaml files: {listed}. Give the one that describes the data as PATH')
        file = found[0] if found else None
    if file is None:
        return _Description(root, None, [], {})
    content = _parsed(file)
    if 'kpt_shape' in content:
        raise InputError(f'{file}: kpt_shape: its labels are poses, which are not read: boxes and polygons are')
    root, note = file.parent, None
    if given := content.get('path'):
        if (root / given).is_dir():
            root = (root / given).absolute()
        elif Path(given).is_dir():
            root = Path(given).absolute()
        else:
            note = ('paths of data.yaml are absent here: the folder of the file is taken', given)
    parts = {}
    for name in ('train', 'val'):
        value = content.get(name) or []
        parts[name] = [value] if isinstance(value, str) else [str(entry) for entry in value]
    return _Description(root, file, _names(file, content), parts, note)


def _parsed(file: Path) -> dict:
    """Return the content, all of it text: YAML would make of a class named 'no' a False."""
    try:
        content = yaml.load(file.read_text(encoding='utf-8-sig'), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f'{file} is no valid YAML: {" ".join(str(error).split())}') from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected YOLO's data.yaml, with train, val and names, got {content!r:.60}")
    return content


def _names(file: Path, content: dict) -> list[str]:
    """Return the names of the classes, which may stand in a list, or each with its number."""
    names = content.get('names') or []
    if isinstance(names, dict):
        if [*names] != [str(number) for number in range(len(names))]:
            raise InputError(f'{file}: names: expected the numbers 0, 1, ..., {len(names) - 1}, got {some(names)}')
        names = [*names.values()]
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f'{file}: names: expected a name for each class, got {names!r:.60}')
    count = content.get('nc')
    if names and count is not None and count != str(len(names)):
        raise InputError(
            f'{file}: nc is {count}, but there are {len(names)} names: {some(names)}. Correct one of them'
        )
    return [*names]


def _listed_classes(root: Path) -> list[str]:
    """Return the lines of a ``classes.txt``, which tools for labelling write, in the folder or next to the labels."""
    found = sorted(root.rglob(_CLASSES))
    texts = {file.read_text(encoding='utf-8-sig') for file in found}
    if len(texts) > 1:
        raise InputError(f'{some(found)} name different classes: give --classes NAME NAME ...')
    return [line.strip() for text in texts for line in text.splitlines() if line.strip()]


# ---- images ----


def _images_of_parts(data: _Description, options: Options) -> tuple[list[Path], list[Path]]:
    given = {'train': [options.train] if options.train else [], 'val': [options.val] if options.val else []}
    train, val = (given[name] or data.parts.get(name, []) for name in ('train', 'val'))
    if train:
        source = data.file or data.root
        return _images(data.root, train, source, 'train'), _images(data.root, val, source, 'val')
    if data.file:
        raise InputError(f'{data.file} has no `train`: expected a folder of images; or name it with --train FOLDER')
    if val:
        raise InputError('--val goes with --train: name the folder of the images to train on, too')
    images = [Path(image) for image in image_files(data.root)]
    places = [str(image.relative_to(data.root)) for image in images]
    validated = [image for image, place in zip(images, places, strict=True) if is_validation(place)]
    trained = [
        image for image, place in zip(images, places, strict=True) if not is_validation(place) and not is_test(place)
    ]
    if not trained:
        raise InputError(
            f'{data.root}: all {len(images)} images are in folders named val or test: add some to train on'
        )
    return trained, validated


def _images(root: Path, sources: Sequence[str], described: Path, name: str) -> list[Path]:
    """Return the images of folders and of lists of images, each once."""
    images: dict[Path, None] = {}
    for source in sources:
        # Some exporters write '../train/images' for the folder beside data.yaml, as if it lay one deeper.
        candidates = [root / source, root / source.removeprefix('../')]
        place = next((Path(os.path.normpath(path)) for path in candidates if path.exists()), None)
        if place is None:
            raise MissingFileError(
                f'{described}: {name}: {source} is not in {root}: name a folder of images, or a list, with --{name}'
            )
        found = _listed(place) if place.is_file() else map(Path, image_files(place))
        images |= dict.fromkeys(found)
    if sources and not images:
        raise InputError(f'{described}: {name}: {some(sources)} lists no images')
    return [*images]


def _listed(file: Path) -> Iterator[Path]:
    """Yield the images that a text file lists, a line each, relative to it or absolute."""
    for line in file.read_text(encoding='utf-8-sig').splitlines():
        if line.strip():
            yield Path(os.path.normpath(file.parent / line.strip()))


# ---- labels ----


def _read_labels(part: Part, images: Sequence[Path], num_classes: int, number: int, problems: Problems) -> int:
    """Add images and the objects of their label files to ``part``, numbered from ``number`` + 1.

    Returns:
        The last number.
    """
    files = {image: label_file(image) for image in images}
    shared = Counter(files.values())
    for image, file in files.items():
        number += 1
        place = os.path.relpath(image, part.folder)
        entry = dict(id=number, file_name=place)
        part.content['images'].append(entry)
        size = read_header(str(image))
        if size is None:
            continue  # the image is left out, with a note, when the part is repaired
        entry['width'], entry['height'] = width, height = size[:2]
        if not file.is_file():
            part.note('images have no label file: taken as without objects', place)
            continue
        if shared[file] > 1:
            part.note('images have the same label file as another', place)
        for values in _lines(part, file, num_classes, problems):
            annotation = _box(values, width, height) if len(values) == 5 else _polygon(values, width, height)
            annotations = part.content['annotations']
            # Ids that start at 1 in each part: pycocotools takes 0 for 'no match'.
            annotations.append(
                dict(annotation, id=len(annotations) + 1, image_id=number, category_id=int(values[0]), iscrowd=0)
            )
    return number


def _without_image(images: Sequence[Path]) -> Iterator[Path]:
    """Yield label files that belong to no file in the folder of the images."""
    for folder in sorted({image.parent for image in images if image.parent.is_dir()}):
        stems = {file.stem for file in folder.iterdir() if file.suffix != '.txt'}
        for file in sorted(label_file(folder / 'any').parent.glob('*.txt')):
            if file.stem not in stems and file.name not in _NO_LABELS:
                yield file


def _lines(part: Part, file: Path, num_classes: int, problems: Problems) -> Iterator[list[float]]:
    """Yield the values of each line: class, then shares of width and height, cut to 0 to 1 where rounding left it."""
    try:
        lines = file.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        problems.add(f'{file} is no text: {error.reason}')
        return
    seen = set()
    for i, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            problems.add(f'{file}, line {i}: expected numbers, got {line.strip()!r:.60}')
            continue
        if problem := _problem(values, num_classes):
            problems.add(f'{file}, line {i}: {problem}')
        elif tuple(values) in seen:
            part.note('objects are there twice in their file: taken once', f'{file.name}, line {i}')
        else:
            seen.add(tuple(values))
            yield [values[0], *(min(max(value, 0.0), 1.0) for value in values[1:])]


def _problem(values: Sequence[float], num_classes: int) -> str:
    """Return what is wrong with a line, '' if nothing."""
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        hint = ' (a confidence at the end is that of predictions)' if len(values) == 6 else ''
        return (
            f'{spell(len(values), "value")}{hint}: expected class cx cy w h, or class and the x and y of three points '
            'or more'
        )
    if values[0] not in range(num_classes):
        return f'class {values[0]:g}: expected 0 to {num_classes - 1}, the numbers of the names'
    outside = [value for value in values[1:] if not -_ROUNDING <= value <= 1 + _ROUNDING]
    if outside:
        return f'{outside[0]:g} is not from 0 to 1: expected shares of the width and height, not pixels'
    return ''


def _box(values: Sequence[float], width: int, height: int) -> dict:
    """Return box and area in pixels of ``class cx cy w h``."""
    _, x, y, w, h = values
    box = [_pixels((x - w / 2) * width), _pixels((y - h / 2) * height), _pixels(w * width), _pixels(h * height)]
    return dict(bbox=box, area=_pixels(box[2] * box[3]), segmentation=[])


def _polygon(values: Sequence[float], width: int, height: int) -> dict:
    """Return polygon, box and area in pixels of ``class x1 y1 x2 y2 ...``."""
    xs, ys = [_pixels(x * width) for x in values[1::2]], [_pixels(y * height) for y in values[2::2]]
    box = [min(xs), min(ys), _pixels(max(xs) - min(xs)), _pixels(max(ys) - min(ys))]
    # The shoelace formula.
    twice = sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))
    points = [coordinate for point in zip(xs, ys, strict=True) for coordinate in point]
    return dict(bbox=box, area=_pixels(abs(twice) / 2), segmentation=[points])


def _pixels(value: float) -> float:
    """Return a value without digits that labels of six digits cannot have."""
    return round(value, 3)
