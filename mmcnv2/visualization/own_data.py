"""One picture of a data set: samples with their labels, how many of each class, and how large the images are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from matplotlib.figure import Figure

from mmcnv2.utils.files import written_whole

from .sheets import contact_sheet

_MOST_CLASSES = 30
_COLUMNS = 4


def draw_overview(
    path: str | Path,
    samples: Sequence[np.ndarray],
    counts: Mapping[str, int],
    counted: str,
    sizes: Sequence[tuple[int, int]],
) -> None:
    """Draw samples in rows, below them a bar for each class, and the sizes of images as points.

    Args:
        path: Picture to write; its ending is its format.
        samples: Images (H, W, 3) uint8, RGB.
        counts: Number of objects, images or pixels of each class; of many classes the commonest are drawn. May be
            empty.
        counted: What they count.
        sizes: Width and height of images in pixels.
    """
    rows = -(-len(samples) // _COLUMNS)
    figure = Figure(figsize=(12, 3 * rows + 4), layout='constrained')
    upper, lower = cast(Any, figure.subfigures(2, 1, height_ratios=(max(3 * rows, 0.1), 4)))
    if rows:
        axes = upper.subplots()
        axes.axis('off')
        axes.imshow(_sheet(samples))
    left, right = lower.subplots(1, 2, width_ratios=(2, 1)) if counts else (None, lower.subplots())
    if left is not None:
        shown = sorted(counts.items(), key=lambda item: -item[1])[:_MOST_CLASSES]
        left.bar([name[:20] for name, _ in shown], [count for _, count in shown])
        left.tick_params('x', rotation=90 if len(shown) > 6 else 0)
        more = f', the commonest {len(shown)} of {len(counts)} classes' if len(shown) < len(counts) else ''
        left.set(ylabel=counted, title=f'{counted} of each class{more}')
    widths, heights = zip(*sizes, strict=True)
    right.hist([widths, heights], bins=20, label=['width', 'height'])
    right.set(xlabel='pixels', ylabel='images', title='sizes of images')
    right.legend()
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _sheet(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Arrange images of any sizes in rows, with white around them."""
    height, width = (max(sample.shape[axis] for sample in samples) for axis in (0, 1))
    cells = [
        cv2.copyMakeBorder(
            sample, 0, height - len(sample), 0, width - sample.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3
        )
        for sample in samples
    ]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % _COLUMNS)
    return contact_sheet([cells[i : i + _COLUMNS] for i in range(0, len(cells), _COLUMNS)])
