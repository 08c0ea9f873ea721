"""What mmdet uses of ``panopticapi``, which is on no package index, for where it is not installed.

mmdet brings the matching of segments itself. It lacks the colours of a panoptic PNG and the sums of which the panoptic
quality is made (arXiv 1801.00868): per class, ``sum of IoU of matched segments / (TP + FP / 2 + FN / 2)``. Without
them neither ``LoadPanopticAnnotations`` nor ``CocoPanopticMetric`` can be built.
"""

import importlib.util
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

VOID = 0  # the number of pixels without a label
OFFSET = 256**3  # numbers of segments are below it


def provide_panopticapi() -> None:
    """Make ``import panopticapi`` find the names of this module, unless the package is installed."""
    if importlib.util.find_spec('panopticapi') is not None:
        return
    parts: dict[str, dict[str, Any]] = {
        'panopticapi.utils': dict(rgb2id=rgb2id, id2rgb=id2rgb),
        'panopticapi.evaluation': dict(VOID=VOID, OFFSET=OFFSET, PQStat=PQStat, PQStatCat=PQStatCat),
    }
    package = ModuleType('panopticapi', __doc__)
    package.__path__ = []  # a package, with these two modules only
    # Whoever asks again whether it is there, as find_spec does, gets an answer.
    package.__spec__ = importlib.util.spec_from_loader('panopticapi', loader=None, is_package=True)
    sys.modules['panopticapi'] = package
    for name, content in parts.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
        sys.modules[name] = module
        setattr(package, name.rpartition('.')[2], module)


def rgb2id(color: np.ndarray | list[int]) -> Any:
    """Return the numbers of segments, ``R + 256 G + 256² B``.

    Of an array (..., 3) that is an array (...) int32, of a list an int.
    """
    if isinstance(color, np.ndarray):
        return color.astype(np.int32) @ np.array([1, 256, 256**2], np.int32)
    red, green, blue = color
    return int(red) + 256 * int(green) + 256**2 * int(blue)


def id2rgb(number: np.ndarray | int) -> Any:
    """Return the colours of segments.

    Of an array (...) of integers that is an array (..., 3) uint8, of an int a list.
    """
    if isinstance(number, np.ndarray):
        return np.stack([number // 256**i % 256 for i in range(3)], -1).astype(np.uint8)
    return [number // 256**i % 256 for i in range(3)]


@dataclass
class PQStatCat:
    """Counts of a class: matched segments with the sum of their IoU, predictions and labels without a match."""

    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __iadd__(self, other: 'PQStatCat') -> 'PQStatCat':
        self.iou += other.iou
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn
        return self


class PQStat:
    """Counts of all classes, by the number of the class."""

    def __init__(self) -> None:
        self.pq_per_cat: defaultdict[int, PQStatCat] = defaultdict(PQStatCat)

    def __getitem__(self, category: int) -> PQStatCat:
        return self.pq_per_cat[category]

    def __iadd__(self, other: 'PQStat') -> 'PQStat':
        for category, counts in other.pq_per_cat.items():
            self.pq_per_cat[category] += counts
        return self

    def pq_average(self, categories: Mapping[int, Mapping], isthing: bool | None) -> tuple[dict, dict]:
        """Return panoptic, segmentation and recognition quality, from 0 to 1, and those of each class.

        Args:
            categories: By the number of a class, a dict with ``isthing``, 0 or 1.
            isthing: Whether things or stuff are averaged; None for both.

        Returns:
            ``dict(pq, sq, rq, n)``, the mean over the ``n`` classes that occur in labels or predictions (0 of none),
            and by the number of a class ``dict(pq, sq, rq)``, with 0 for one that does not occur.
        """
        per_class, occurring = {}, []
        for category, info in categories.items():
            if isthing is not None and bool(info['isthing']) != isthing:
                continue
            counts = self.pq_per_cat.get(category, PQStatCat())
            segments = counts.tp + counts.fp / 2 + counts.fn / 2
            sq = counts.iou / counts.tp if counts.tp else 0.0
            rq = counts.tp / segments if segments else 0.0
            per_class[category] = dict(pq=sq * rq, sq=sq, rq=rq)
            if segments:
                occurring.append(per_class[category])
        average: dict = {
            key: sum(row[key] for row in occurring) / max(len(occurring), 1) for key in ('pq', 'sq', 'rq')
        }
        return dict(average, n=len(occurring)), per_class
