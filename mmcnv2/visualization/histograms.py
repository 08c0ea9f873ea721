"""How many of each class, and how large."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_MOST_CLASSES = 30
_FEW_SIZES = 8


def class_bars(axes: Any, counts: Mapping[str, int], counted: str) -> None:
    """Draw a bar for each class; of many classes the commonest.

    Args:
        axes: Of matplotlib.
        counts: Number of objects, images or pixels of each class.
        counted: What they count.
    """
    shown = sorted(counts.items(), key=lambda item: -item[1])[:_MOST_CLASSES]
    axes.bar([name[:20] for name, _ in shown], [count for _, count in shown])
    axes.tick_params('x', rotation=90 if len(shown) > 6 else 0)
    more = f', the commonest {len(shown)} of {len(counts)} classes' if len(shown) < len(counts) else ''
    axes.set(ylabel=counted, title=f'{counted} of each class{more}')


def image_sizes(axes: Any, sizes: Sequence[tuple[int, int]]) -> None:
    """Draw how many images have which width and height.

    Args:
        axes: Of matplotlib.
        sizes: Width and height of images in pixels.
    """
    counts = Counter(sizes)
    if len(counts) <= _FEW_SIZES:
        named = sorted(counts.items())
        axes.bar([f'{width}x{height}' for (width, height), _ in named], [count for _, count in named])
        axes.tick_params('x', rotation=90 if len(named) > 3 else 0)
        axes.set(xlabel='width x height, pixels')
    else:
        widths, heights = zip(*sizes, strict=True)
        axes.hist([widths, heights], bins=20, label=['width', 'height'])
        axes.set(xlabel='pixels')
        axes.legend()
    axes.set(ylabel='images', title='sizes of images')


def object_sizes(axes: Any, sides: Sequence[float]) -> None:
    """Draw how many objects have which size, on a logarithmic axis; lines where COCO's small and medium ones end.

    Args:
        axes: Of matplotlib.
        sides: Square roots of the areas of boxes, in pixels.
    """
    positive = np.maximum(np.asarray(sides, dtype=float), 1)
    axes.hist(positive, bins=np.geomspace(1, max(positive.max(), 2) * 1.01, 25))
    axes.set(xscale='log', xlabel='square root of the area of the box, pixels', ylabel='objects')
    axes.set_title('sizes of objects')
    axes.xaxis.set_major_formatter('{x:g}')
    for side in (32, 96):
        axes.axvline(side, color='grey', linestyle=':')
