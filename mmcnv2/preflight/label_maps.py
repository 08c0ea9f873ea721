"""Look at the label maps of segmentation as the training will see them, before it starts.

Masks of 0 and 255, the commonest way to store an object and its background, train without an error: 255 is ignored,
one class is left, and mIoU is 100 at once. Labels above the classes end a run in the loss, or a metric overlooks them.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mmengine import registry
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from mmcnv2.datasets import LoadLabelMap
from mmcnv2.datasets.images import ImageFile, UnreadableImageError
from mmcnv2.utils.errors import InputError

from .datasets import base_names, build_dataset, dataset_class, datasets_of, known_transform, metrics_of

NUM_FILES = 200  # of each split, spread over it
_IGNORED = 255  # mmseg's default everywhere
_WIDE = ('I;16', 'I;16B', 'I')  # Pillow's modes of more than 8 bits, which mmseg's LoadAnnotations cuts


def check_label_maps(cfg: Config, splits: tuple[str, ...]) -> None:
    """Read up to ``NUM_FILES`` label maps of each split by the transform of the config, and count their labels.

    Only the first process of a machine does so: the others wait for it when they are joined.

    Args:
        cfg: Config of a run, whose paths exist and whose heads fit its data sets.
        splits: Of 'train', 'val', 'test': the data loaders that will be used.

    Raises:
        InputError: A file cannot be used, labels are neither classes nor ignored, nothing is labelled, or one of two
            classes is all there is beside ignored pixels. Names the file or the data set, and the mend.
    """
    if os.environ.get('LOCAL_RANK', '0') != '0':
        return
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for split in splits:
            found = datasets_of(cfg, split)
            sources = [source for setting, dataset in found if (source := _source(setting, dataset))]
            if not sources:
                continue
            ignored = _ignored(cfg, split)
            seen = _Seen(sources[0], cfg.model.get('decode_head') or {}, ignored)
            for source in sources:
                for path, labels in source.label_maps(NUM_FILES // len(sources) or 1):
                    seen.add(path, labels)
                seen.total += len(source.items)
            seen.report()


def _ignored(cfg: Config, split: str) -> int:
    """Return the label that the loss, or the metric of val and test, ignores."""
    if split != 'train':
        for _, metric in metrics_of(cfg, split):
            if metric['type'].endswith('IoUMetric'):
                return metric.get('ignore_index', _IGNORED)
    head = cfg.model.get('decode_head') or {}
    head = head[-1] if isinstance(head, list | tuple) else head
    return head.get('ignore_index', _IGNORED)


@dataclass
class _Source:
    """A data set of mmseg whose pipeline loads labels."""

    setting: str
    config: Mapping
    classes: list[str]
    items: list[dict]
    load: Any
    step: Mapping

    def label_maps(self, count: int) -> Iterator[tuple[str, np.ndarray]]:
        """Yield path and labels, (H, W) uint8, of some label maps, spread over the data set."""
        chosen = np.linspace(0, len(self.items) - 1, min(count, len(self.items))).round().astype(int)
        for index in chosen:
            path = self.items[index]['seg_map_path']
            yield path, self._read(path, dict(self.items[index]))

    def _read(self, path: str, item: dict) -> np.ndarray:
        try:
            image = ImageFile(item['img_path'])
            shape: tuple[int, int] | None = (image.height, image.width)
        except UnreadableImageError:  # it may be of a kind that another loader reads
            shape = None
        try:
            if not isinstance(self.load, LoadLabelMap):
                _check_depth(path)
            item['ori_shape'] = shape or _size(path)
            labels = self.load(item)['gt_seg_map']
        except InputError:
            raise
        except Exception as error:  # the decoders raise almost anything
            raise InputError(f'label map {path} cannot be read: {type(error).__name__}: {error}') from error
        if labels.ndim != 2:
            raise InputError(
                f'label map {path} has {labels.shape[-1]} channels, colours perhaps: expected one number a pixel, the '
                'label. Convert it to labels'
            )
        if shape and labels.shape != shape:
            size, expected = (f'{width}x{height}' for height, width in (labels.shape, shape))
            raise InputError(
                f'label map {path} is {size}, its image {expected} (width x height). Make both files the same size'
            )
        return labels


def _source(setting: str, config: Mapping) -> _Source | None:
    """Return a data set whose labels can be looked at; None if its kind or pipeline is not one of mmseg's usual."""
    if 'BaseSegDataset' not in base_names(dataset_class(config)):
        return None
    steps = []
    for step in config.get('pipeline') or []:
        cls = known_transform(step.get('type'))
        if cls is None:
            return None  # a transform of the user's may change the labels
        if cls.__name__ in ('LoadAnnotations', 'LoadLabelMap'):
            steps.append(step)
    if len(steps) != 1:
        return None
    dataset = build_dataset(setting, config)
    items = [dataset.get_data_info(i) for i in range(len(dataset))]
    items = [item for item in items if item.get('seg_map_path')]
    classes = list(dataset.metainfo.get('classes') or [])
    if not items or not classes:
        return None
    return _Source(setting, config, classes, items, registry.TRANSFORMS.build(dict(steps[0])), steps[0])


def _size(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size[::-1]


def _check_depth(path: str) -> None:
    """Check that mmseg's transform, which casts to 8 bits, would lose nothing."""
    with Image.open(path) as image:
        largest = int(np.asarray(image).max(initial=0)) if image.mode in _WIDE else 0
    if largest > _IGNORED:
        raise InputError(
            f'label map {path} has label {largest}, and LoadAnnotations keeps 8 bits only: it would become '
            f"{largest % 256}. Take dict(type='mmcnv2.LoadLabelMap', num_classes=..., label_map={{{largest}: 255}}) "
            'instead, with the label that it should have'
        )


@dataclass
class _Seen:
    """What the label maps of a split hold."""

    source: _Source
    head: Mapping | list
    ignored: int
    total: int = 0
    looked_at: int = 0
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    wrong_files: list[str] = field(default_factory=list)
    empty_files: list[str] = field(default_factory=list)

    @property
    def num_classes(self) -> int:
        """Number of labels that the loss takes: one channel with a sigmoid has two."""
        number = len(self.source.classes)
        return max(number, 2) if isinstance(self.head, Mapping) and self.head.get('num_classes') == 1 else number

    def add(self, path: str, labels: np.ndarray) -> None:
        """Count the labels of a file."""
        counts = np.bincount(labels.ravel(), minlength=256)
        self.looked_at += 1
        self.pixels += counts
        if self._outside(counts).any():
            self.wrong_files.append(path)
        if self._ignored_in(counts) == counts.sum():
            self.empty_files.append(path)

    def _ignored_in(self, counts: np.ndarray) -> int:
        return int(counts[self.ignored]) if 0 <= self.ignored <= _IGNORED else 0

    def _outside(self, counts: np.ndarray) -> np.ndarray:
        labels = np.arange(256)
        return np.flatnonzero((counts > 0) & (labels >= self.num_classes) & (labels != self.ignored))

    def report(self) -> None:
        """Raise or warn."""
        setting, classes = self.source.setting, self.source.classes
        of = f'{self.looked_at} of {self.total} label maps of {setting}'
        present = [label for label in range(len(classes)) if self.pixels[label] and label != self.ignored]
        if self.wrong_files:
            raise InputError(self._labels_outside(of))
        if len(self.empty_files) == self.looked_at:
            raise InputError(
                f'{of} hold nothing but ignored pixels ({self.ignored}), the first {self.empty_files[0]}: nothing can '
                f'be learned. {self._why_ignored()}'
            )
        # A class may be rare, so that none of the files looked at has it; but not one of two, with the rest ignored.
        if len(present) == 1 < len(classes) and self._ignored_in(self.pixels):
            only = f'{of} hold label {present[0]} ({classes[present[0]]!r}) and {self.ignored}, which is ignored'
            if len(classes) == 2 or self.looked_at == self.total:
                raise InputError(f'{only}: there is nothing to tell apart. {self._why_ignored()}')
        absent = [f'{name!r} ({label})' for label, name in enumerate(classes) if label not in present]
        if absent and self.ignored not in range(len(classes)):
            listed = ', '.join(absent[:10]) + (f' and {len(absent) - 10} others' if len(absent) > 10 else '')
            warnings.warn(
                f'{of} have no pixel of {listed}. If that is not so in all of them, correct the classes or the labels '
                '(label_map of mmcnv2.LoadLabelMap)',
                stacklevel=2,
            )
        if self.empty_files:
            warnings.warn(
                f'{len(self.empty_files)} of the {of} hold nothing but ignored pixels, for instance '
                f'{self.empty_files[0]}',
                stacklevel=2,
            )

    def _labels_outside(self, of: str) -> str:
        outside = self._outside(self.pixels)
        number = len(self.source.classes)
        listed = ', '.join(f'{label} ({self.pixels[label]} pixels)' for label in outside[:5])
        if list(outside) == [number] and not self.source.config.get('reduce_zero_label'):
            mend = f'Do the classes count from 1? Then set {self.source.setting}.reduce_zero_label=True (0 is ignored)'
        else:
            mend = f'If it is a class, {self._load_with(outside[0])}; or correct the files or the classes'
        return (
            f'label map {self.wrong_files[0]} has labels outside the {number} classes, as have '
            f'{len(self.wrong_files)} in all of the {of}: {listed}. {mend}'
        )

    def _why_ignored(self) -> str:
        if self.source.config.get('reduce_zero_label'):
            return (
                f'{self.source.setting}.reduce_zero_label=True ignores label 0 and takes one off the others: set it '
                'to False if 0 is a class'
            )
        return f'If {self.ignored} is a class, {self._load_with(self.ignored)}'

    def _load_with(self, label: int) -> str:
        """Return what renames a label to the last class."""
        number = len(self.source.classes)
        label_map = f'label_map={{{label}: {number - 1}}}'
        if isinstance(self.source.load, LoadLabelMap):
            return f'give LoadLabelMap {label_map}'
        ours = f"dict(type='mmcnv2.LoadLabelMap', num_classes={number}, {label_map})"
        return f'load with {ours} in place of LoadAnnotations'
