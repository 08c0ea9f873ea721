"""One picture of a data set: samples with their labels, how many of each class, and how large the images are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure

from mmcnv2.utils.files import written_whole

from .histograms import class_bars, image_sizes
from .sheets import padded_sheet

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
        axes.imshow(padded_sheet(samples, _COLUMNS))
    left, right = lower.subplots(1, 2, width_ratios=(2, 1)) if counts else (None, lower.subplots())
    if left is not None:
        class_bars(left, counts, counted)
    image_sizes(right, sizes)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=100)
