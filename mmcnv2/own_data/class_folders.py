"""Look at images in a folder for each class."""

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mmcnv2.utils.errors import InputError

from .images import (
    Sizes,
    data_folder,
    hold_out,
    image_files,
    is_test,
    is_validation,
    look_at_headers,
    some,
    spell,
    spread,
    thumbnail,
)
from .plan import Options

_MOST_LISTED = 12


@dataclass
class ClassFolders:
    """Images with a class each.

    Attributes:
        root: Folder of the data.
        train: Path relative to ``root`` and label of each image to train on.
        val: Of each image held out.
        was_divided: Whether ``val`` was made from a part of the images.
        classes: Names of the folders, sorted.
        sizes: Of the images to train on.
        seen: Lines for the user.
    """

    root: Path
    train: list[tuple[str, int]]
    val: list[tuple[str, int]]
    was_divided: bool
    classes: tuple[str, ...]
    sizes: Sizes
    seen: list[str]

    def counts(self) -> dict[str, int]:
        """Return how many images each class has to train on."""
        numbers = np.bincount([label for _, label in self.train], minlength=len(self.classes))
        return dict(zip(self.classes, numbers.tolist(), strict=True))

    def samples(self, most: int = 8, side: int = 320) -> list[np.ndarray]:
        """Return images with the names of their classes."""
        drawn = []
        for path, label in spread(self.train, most):
            small = thumbnail(str(self.root / path), side)
            if small is None:
                continue
            for shade, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.putText(small, self.classes[label], (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, shade, thickness)
            drawn.append(small)
        return drawn


def look_at_classes(path: str, options: Options) -> ClassFolders:
    """Find class folders: in folders named train and val, or in the folder itself, of which a part is held out.

    Raises:
        InputError: If there are fewer than two classes, or ``val`` has one that ``train`` lacks.
    """
    root = data_folder(path)
    train_folder, val_folder = _parts(root, options)
    seen: list[str] = []
    by_class = _images_by_class(root, train_folder, seen)
    if len(by_class) < 2:
        raise InputError(
            f'{train_folder} has {spell(len(by_class), "sub-folder")} with images ({some(by_class)}): expected one '
            'for each class, two at least. Images without labels: `mmcnv2 init images`'
        )
    classes = tuple(by_class)
    train: list[tuple[str, int]] = []
    val: list[tuple[str, int]] = []
    if val_folder:
        held_out = _images_by_class(root, val_folder, seen)
        if unknown := [name for name in held_out if name not in by_class]:
            raise InputError(f'{val_folder} has classes that {train_folder} lacks: {some(unknown)}')
        for label, name in enumerate(classes):
            train += [(image, label) for image in by_class[name]]
            val += [(image, label) for image in held_out.get(name, [])]
    else:
        for label, name in enumerate(classes):
            mine, other = hold_out(by_class[name])
            if len(by_class[name]) == 1:
                seen.append(f'{name} has one image: it is trained on, and nothing of this class is held out')
                other = []
            train += [(image, label) for image in mine]
            val += [(image, label) for image in other]
    if not val:
        raise InputError(f'{root}: no image can be held out, since every class has one: add images')
    sizes = look_at_headers([str(root / image) for image, _ in train])
    where = val_folder or 'every fifth of each class held out'
    numbers = [len(images) for images in by_class.values()]
    lines = [
        f'{spell(len(classes), "class", "classes")}: {some(classes, _MOST_LISTED)}; {min(numbers)} to {max(numbers)} '
        'images each',
        f'{spell(len(train), "image")} to train on, {spell(len(val), "image")} to validate on ({where})',
        f'sizes: {sizes}',
    ]
    return ClassFolders(root, train, val, val_folder is None, classes, sizes, lines + seen)


def _parts(root: Path, options: Options) -> tuple[Path, Path | None]:
    """Return the folder of training, and that of validation or None."""
    if options.train:
        folders = [root / name if name else None for name in (options.train, options.val)]
        for folder in folders:
            if folder and not folder.is_dir():
                raise InputError(f'--train, --val: {folder} is no folder')
        return folders[0], folders[1]  # type: ignore[return-value]
    if options.val:
        raise InputError('--val goes with --train: name the folder of the images to train on, too')
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith('.'))
    train = [name for name in names if name.lower() in ('train', 'training')]
    val = [name for name in names if is_validation(name)] or [name for name in names if is_test(name)]
    return (root / train[0], root / val[0] if val else None) if train else (root, None)


def _images_by_class(root: Path, folder: Path, seen: list[str]) -> dict[str, list[str]]:
    """Return the images of each sub-folder, relative to ``root``; images beside the folders are named and left out."""
    found: dict[str, list[str]] = {}
    beside = []
    for path in image_files(folder):
        name, *rest = Path(path).relative_to(folder).parts
        if rest:
            found.setdefault(name, []).append(os.path.relpath(path, root))
        else:
            beside.append(name)
    if beside:
        seen.append(f'{spell(len(beside), "image")} outside class folders left out: {some(beside, 3)}')
    return dict(sorted(found.items()))
