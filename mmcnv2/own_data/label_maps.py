"""Look at images with a label map each, one number a pixel."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmcnv2.utils.errors import InputError
from mmcnv2.visualization import draw_label_map

from .images import (
    Sizes,
    data_folder,
    hold_out,
    image_files,
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

IGNORED = 255
_ONE_NUMBER = ('1', 'L', 'P', 'I', 'I;16', 'I;16B')  # Pillow's modes with one integer a pixel
_LOSSLESS = ('.png', '.tif', '.tiff', '.bmp')
_WORDS = re.compile(r'mask|label|annot|semantic|segm|\bgt\b|ground.?truth|lbl', re.IGNORECASE)
_MOST_MAPS = 2000
_MOST_VALUES = 200  # more are numbers of objects, or not labels at all


@dataclass
class LabelMaps:
    """Images with label maps.

    Attributes:
        root: Folder of the data.
        image_suffix: How names of images end.
        label_suffix: What names of label maps have instead.
        train: Image and label map of each pair to train on.
        val: Of each pair held out.
        was_divided: Whether ``val`` was made from a part of ``train``.
        classes: Names.
        label_map: New labels by those of the files, where they differ.
        counts: Pixels of each class, of the maps looked at.
        sizes: Of the images.
        seen: Lines for the user.
    """

    root: Path
    image_suffix: str
    label_suffix: str
    train: list[tuple[str, str]]
    val: list[tuple[str, str]]
    was_divided: bool
    classes: tuple[str, ...]
    label_map: dict[int, int]
    counts: dict[str, int]
    sizes: Sizes
    seen: list[str]

    def samples(self, most: int = 8, side: int = 320) -> list[np.ndarray]:
        """Return images with their labels drawn."""
        drawn = []
        for image, label_map in spread(self.train, most):
            small = thumbnail(image, side)
            if small is not None:
                labels = _new_labels(_read(label_map), self.label_map)
                labels = cv2.resize(labels, small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
                drawn.append(draw_label_map(small, labels))
        return drawn


def look_at_label_maps(path: str, options: Options) -> LabelMaps:
    """Pair images with label maps by folders and names, look at the labels, and hold out a part if none is.

    Args:
        path: Folder of the data.
        options: Names folders that cannot be guessed, and classes.

    Raises:
        InputError: If no pair is found, sizes disagree, or the numbers are not labels of classes.
    """
    root = data_folder(path)
    seen: list[str] = []
    pairs = _named_pairs(root, options) if options.images or options.labels else _find_pairs(root)
    pairs, image_suffix, label_suffix = _one_suffix(root, pairs, seen)
    train = [pair for pair, part in pairs if part == 'train']
    val = [pair for pair, part in pairs if part == 'val']
    if left := len(pairs) - len(train) - len(val):
        seen.append(f'{spell(left, "pair")} in folders named test: left alone')
    was_divided = not (train and val)
    if was_divided:
        train, val = hold_out(train or val)
    _check_sizes(train + val)
    values = _count_values([label for _, label in train + val])
    classes, label_map, counts = _choose_classes(root, values, options.classes, seen)
    sizes = look_at_headers([image for image, _ in train])
    held_out = 'every fifth held out' if was_divided else 'by the names of the folders'
    looked_at = min(_MOST_MAPS, len(train + val))
    lines = [
        f'{spell(len(train), "image")} to train on and {spell(len(val), "image")} to validate on ({held_out})',
        f'images end in {image_suffix}, their label maps in {label_suffix}',
        f'sizes: {sizes}',
        f'labels in {spell(looked_at, "map")}: {_said_of_values(values)}',
        f'{spell(len(classes), "class", "classes")}: {some(classes, 12)}',
    ]
    return LabelMaps(
        root, image_suffix, label_suffix, train, val, was_divided, classes, label_map, counts, sizes, lines + seen
    )


# ---- pairs ----


def _named_pairs(root: Path, options: Options) -> list[tuple[tuple[str, str], str]]:
    """Return the pairs of the folders that the user named, each with its part."""
    if len(options.images) != len(options.labels):
        raise InputError(
            '--images and --labels need as many folders as each other: of training, and maybe of validation'
        )
    pairs = []
    for part, images, labels in zip(('train', 'val'), options.images, options.labels, strict=False):
        folders = [root / name if (root / name).is_dir() else Path(name).absolute() for name in (images, labels)]
        files = [image_files(folder) for folder in folders]
        found = _match(*files)
        if not found:
            raise InputError(
                f'no image in {folders[0]} has a label map in {folders[1]}, {_naming(files[0], files[1])}'
            )
        pairs += [(pair, part) for pair in found]
    return pairs


def _find_pairs(root: Path) -> list[tuple[tuple[str, str], str]]:
    """Return image and label map of each pair, with its part: 'train', 'val' or 'test'."""
    by_folder: dict[str, list[str]] = {}
    for path in image_files(root):
        by_folder.setdefault(os.path.dirname(path), []).append(path)
    holds_labels = {folder: looks_like_labels(root, files) for folder, files in by_folder.items()}
    pairs: list[tuple[tuple[str, str], str]] = []
    taken: set[str] = set()
    for folder in sorted(by_folder, key=lambda folder: (-holds_labels[folder], folder)):
        if not holds_labels[folder]:
            continue
        images = [other for other in by_folder if other not in taken and holds_labels[other] < holds_labels[folder]]
        matches = {other: _match(by_folder[other], by_folder[folder]) for other in images}
        best = max(images, key=lambda other: (len(matches[other]), _alike(other, folder)), default=None)
        if best is None or not matches[best]:
            continue
        taken.add(best)
        place = os.path.relpath(folder, root)
        part = 'val' if is_validation(place) else 'test' if is_test(place) else 'train'
        pairs += [(pair, part) for pair in matches[best]]
    if not pairs:
        folders = some((os.path.relpath(folder, root) for folder in by_folder), 10)
        raise InputError(
            f'no images with label maps found in {root}: expected a folder of images and one of label maps of the '
            f'same names (PNG or TIFF, one number a pixel, the label); it has images in {folders}. Name them: '
            '--images FOLDER --labels FOLDER'
        )
    return pairs


def looks_like_labels(root: Path, files: Sequence[str]) -> int:
    """Return 0 if the files of a folder are no label maps, 2 if its name says that they are, else 1."""
    tried = spread(files, 3)
    if not all(path.lower().endswith(_LOSSLESS) for path in tried):
        return 0
    headers = [read_header(path) for path in tried]
    if not all(header and header[2] in _ONE_NUMBER for header in headers):
        return 0
    if _WORDS.search(os.path.relpath(os.path.dirname(files[0]), root)):
        return 2
    return int(all(len(np.unique(_read(path))) <= 32 for path in tried))


def _match(images: Sequence[str], labels: Sequence[str]) -> list[tuple[str, str]]:
    """Pair files whose names, without ending, are equal, or that of the label map goes on behind - or _."""
    by_stem = {Path(path).stem: path for path in labels}
    pairs = [(image, by_stem[Path(image).stem]) for image in images if Path(image).stem in by_stem]
    if pairs:
        return pairs
    stems = {Path(path).stem: path for path in images}
    for stem, path in by_stem.items():
        start = re.split(r'[-_][a-zA-Z]+$', stem)[0]
        if start in stems:
            pairs.append((stems[start], path))
    return sorted(pairs)


def _alike(folder: str, other: str) -> int:
    """Return how many words two paths share: images/val goes with labels/val."""
    return len({*re.split(r'[\W_]+', folder.lower())} & {*re.split(r'[\W_]+', other.lower())})


def _naming(images: Sequence[str], labels: Sequence[str]) -> str:
    return f'for instance {os.path.basename(images[0])} and {os.path.basename(labels[0])}: give them the same names'


def _one_suffix(
    root: Path, pairs: list[tuple[tuple[str, str], str]], seen: list[str]
) -> tuple[list[tuple[tuple[str, str], str]], str, str]:
    """Keep the pairs with the commonest suffixes, since a data set of mmseg has one of each."""

    def suffixes(pair: tuple[str, str]) -> tuple[str, str]:
        image, label = (os.path.basename(path) for path in pair)
        length = len(Path(image).stem)  # which the name of the label map begins with
        return image[length:], label[length:]

    counted = Counter(suffixes(pair) for pair, _ in pairs)
    (chosen, _), *others = counted.most_common()
    for other, count in others:
        seen.append(
            f'{spell(count, "pair")} with the endings {other[0]} and {other[1]} left out: a data set has one kind of '
            'each; convert them'
        )
    return [(pair, part) for pair, part in pairs if suffixes(pair) == chosen], *chosen


# ---- labels ----


def _read(path: str) -> np.ndarray:
    """Return the numbers in a file, (H, W)."""
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
            mode = image.mode
    except Exception as error:  # the decoders raise almost anything
        raise InputError(f'label map {path} cannot be read: {type(error).__name__}: {error}') from error
    if mode not in _ONE_NUMBER:
        raise InputError(
            f'label map {path} has mode {mode!r} of Pillow: expected one integer a pixel, the label. If its colours '
            'stand for classes, convert it to labels'
        )
    return values.astype(np.int64)


def _check_sizes(pairs: Sequence[tuple[str, str]]) -> None:
    for image, label in spread(pairs, _MOST_MAPS):
        sizes = [size[:2] if (size := read_header(path)) else None for path in (image, label)]
        if None not in sizes and sizes[0] != sizes[1]:
            (width, height), (own_width, own_height) = sizes  # type: ignore[misc]
            raise InputError(
                f'label map {label} is {own_width}x{own_height}, its image {width}x{height} (width x height). Make '
                'both files the same size'
            )


def _count_values(paths: Sequence[str]) -> Counter[int]:
    """Return how many pixels have each number.

    Raises:
        InputError: If there are too many for classes.
    """
    pixels: Counter[int] = Counter()
    for path in spread(paths, _MOST_MAPS):
        values, counts = np.unique(_read(path), return_counts=True)
        pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        if len(pixels) > _MOST_VALUES or min(pixels) < 0:
            raise InputError(
                f'the label maps hold {len(pixels)} numbers and more ({min(pixels)} to {max(pixels)}, {path} for '
                'instance): numbers of objects, or grey values, rather than classes? A pixel should have the number '
                'of its class. Convert them'
            )
    return pixels


def _choose_classes(
    root: Path, pixels: Counter[int], names: Sequence[str], seen: list[str]
) -> tuple[tuple[str, ...], dict[int, int], dict[str, int]]:
    """Return names of classes, new labels by the numbers of the files where they differ, and pixels of each class."""
    values = sorted(pixels)
    # Masks of 0 and 255: 255 is the object; with other labels, it is what is to be ignored.
    is_mask = values in ([0, IGNORED], [IGNORED])
    labels = values if is_mask else [value for value in values if value != IGNORED]
    if not labels or len(values) == 1:
        raise InputError(
            f'the label maps hold nothing but {values[0]}: there is nothing to tell apart. Are these the label maps? '
            'Name their folder with --labels'
        )
    file = next((path for path in sorted(root.rglob('classes.txt')) + sorted(root.rglob('labels.txt'))), None)
    if not names and file:
        names = [line.strip() for line in file.read_text(encoding='utf-8').splitlines() if line.strip()]
        seen.append(f'names of the classes are those of {file.relative_to(root)}')
    count = len(names) or max(labels) + 1
    label_map: dict[int, int] = {}
    if is_mask:
        label_map = {IGNORED: 1}
        names = names or ('background', 'object')
        seen.append('masks of 0 and 255: 255 is taken as class 1')
    elif max(labels) >= count or (not names and len(labels) < max(labels) + 1):
        # Numbers with gaps, or 16-bit ones: the classes are those that occur, in their order.
        label_map = {value: i for i, value in enumerate(labels) if value != i}
        seen.append(
            f'the numbers have gaps: they are counted anew, {some(f"{a} as {b}" for a, b in label_map.items())}'
        )
        if names and len(names) != len(labels):
            raise InputError(
                f'{len(labels)} labels occur ({some(labels, 10)}), but {len(names)} classes are named: name one each '
                '(--classes NAME ...)'
            )
        names = names or [f'class {value}' for value in labels]
    names = names or [f'class {i}' for i in range(count)]
    if len(names) < 2:
        raise InputError(f'{len(names)} class is named, and the labels {some(labels, 10)} occur: name at least two')
    if IGNORED in values and not is_mask:
        seen.append(f'{IGNORED}: taken as pixels to ignore ({pixels[IGNORED] / pixels.total():.1%})')
    counts = dict.fromkeys(names, 0)
    for value in labels:
        counts[names[label_map.get(value, value)]] += pixels[value]
    if absent := [name for name, number in counts.items() if not number]:
        seen.append(f'no pixel of {some(absent, 10)}')
    return tuple(names), label_map, counts


def _new_labels(values: np.ndarray, label_map: dict[int, int]) -> np.ndarray:
    """Return labels (H, W) uint8."""
    labels = values.copy()
    for old, new in label_map.items():
        labels[values == old] = new
    return labels.clip(0, IGNORED).astype(np.uint8)


def _said_of_values(pixels: Counter[int]) -> str:
    total = pixels.total()
    shown = sorted(pixels)[:12]
    return ', '.join(f'{value} ({pixels[value] / total:.1%})' for value in shown) + (
        f' and {len(pixels) - 12} others' if len(pixels) > 12 else ''
    )
