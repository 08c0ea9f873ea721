"""A contact sheet of the built-in data set."""

from pathlib import Path

import cv2
import numpy as np

from mmcnv2.toy_scenes import CLASSES, render_scene
from mmcnv2.utils.errors import InputError

from .labels import draw_instances
from .sheets import contact_sheet


def write_preview(path: str, seed: int, image_size: int, count: int = 20, columns: int = 4) -> None:
    """Write a contact sheet of the first ``count`` training images, each plain and labelled.

    Args:
        path: picture file to write; its folder is made if missing.
        seed: seed of the data set.
        image_size: side of the images, which are enlarged to up to 256 pixels.
        count: how many images, a multiple of ``columns``.
        columns: how many of them side by side.
    """
    zoom = max(256 // image_size, 1)
    cells = []
    for i in range(count):
        scene = render_scene(i, 'train', seed, image_size)
        plain = cv2.resize(scene.image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        instances = np.kron(scene.instances, np.ones((zoom, zoom), dtype=np.uint8))
        masks = instances == np.arange(1, len(scene.labels) + 1)[:, None, None]
        labels = [label - 1 for label in scene.labels]
        texts = [f'{CLASSES[label]} {shown:.0%}' for label, shown in zip(labels, scene.visible, strict=True)]
        cells += [plain, draw_instances(plain, masks, labels, texts)]
    rows = [cells[i : i + 2 * columns] for i in range(0, len(cells), 2 * columns)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(path, contact_sheet(rows)[..., ::-1]):
        raise InputError(f'cannot write {path}: its ending must be that of a picture')
