"""Look at images without labels."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .images import Sizes, data_folder, image_files, look_at_headers, some, spell, spread, thumbnail
from .label_maps import looks_like_labels


@dataclass
class Unlabelled:
    """Images of a folder and its sub-folders.

    Attributes:
        root: The folder.
        paths: All images.
        sizes: Their sizes.
        seen: Lines for the user.
    """

    root: Path
    paths: list[str]
    sizes: Sizes
    seen: list[str]

    def samples(self, most: int = 8, side: int = 320) -> list[np.ndarray]:
        """Return some of the images."""
        drawn = (thumbnail(path, side) for path in spread(self.paths, most))
        return [image for image in drawn if image is not None]


def look_at_images(path: str) -> Unlabelled:
    """Find the images of a folder.

    Raises:
        InputError: If there are none, or none that can be read.
    """
    root = data_folder(path)
    paths = image_files(root)
    sizes = look_at_headers(paths)
    endings = Counter(Path(path).suffix.lower() for path in paths)
    seen = [
        f'{spell(len(paths), "image")}: {", ".join(f"{count:,} {ending}" for ending, count in endings.most_common())}',
        f'sizes: {sizes}',
    ]
    by_folder: dict[str, list[str]] = {}
    for file in paths:
        by_folder.setdefault(os.path.dirname(file), []).append(file)
    labels = [folder for folder, files in by_folder.items() if looks_like_labels(root, files) == 2]
    if labels:
        seen.append(
            f'{spell(sum(len(by_folder[folder]) for folder in labels), "file")} may be label maps, by the names of '
            f'their folders ({some(os.path.relpath(folder, root) for folder in labels)}): if so, give a folder '
            'without them'
        )
    if sizes.broken:
        seen.append(f'{spell(len(sizes.broken), "file")} cannot be read and will be skipped: {some(sizes.broken, 3)}')
    if deep := [mode for mode in sizes.modes if mode in ('I', 'F') or mode.startswith('I;16')]:
        seen.append(
            f'{spell(sum(sizes.modes[mode] for mode in deep), "image")} of more than 8 bits (mode {some(deep)}): read '
            'as 8 bits, see docs/how_to/data.md'
        )
    return Unlabelled(root, paths, sizes, seen)
