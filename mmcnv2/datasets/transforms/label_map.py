"""Read the label maps of semantic segmentation, and refuse those that would train on nonsense."""

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from mmcnv2.registry import TRANSFORMS
from mmcnv2.utils.errors import InputError, MissingFileError

IGNORED = 255  # as in mmseg's datasets, losses and metrics
_MODES = ('1', 'L', 'P')  # Pillow's names for files with one number of up to 8 bits per pixel
_LARGEST = 65535  # in files of 16 bits
_WIDE_MODES = ('I;16', 'I;16B', 'I')  # with one integer of more


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """mmseg's ``LoadAnnotations`` for one label per pixel, which checks what it reads.

    mmseg's casts whatever the file holds to 8 bits: 16-bit labels wrap around, and a colour picture fails in the loss.
    Here the file must have one channel (grey, or a palette, whose indices are the labels), the size of its image, and
    no label that is neither a class nor ignored. Files of 16 or 32 bits are read if their labels, or what
    ``label_map`` makes of them, fit 8 bits.

    Without ``seg_map_path``, as in mmseg's inference on a bare image, it does nothing.

    Required Keys:

    - seg_map_path (str, optional)
    - ori_shape (tuple[int, int]): (H, W) of the image file.
    - reduce_zero_label (bool): Whether label 0 is ignored and the others are reduced by one.
    - label_map (dict[int, int], optional): New labels by old ones; mmseg's datasets make it when a config names some
      of their classes.
    - seg_fields (list[str])

    Modified Keys:

    - gt_seg_map (np.ndarray): Added: (H, W), uint8, labels of the dataset's classes, 255 ignored.
    - seg_fields

    Args:
        num_classes: Number of classes of the dataset; None: labels are not checked.
        label_map: New labels by those in the file, before anything else is done to them; the others stay. Masks of 0
            and 255, for instance, take ``{255: 1}``. Old labels are 0 to 65535 (also as text, which is what
            ``--cfg-options`` makes of them), new ones 0 to 255.

    Raises:
        InputError: An argument is wrong.
    """

    def __init__(self, num_classes: int | None = None, label_map: dict | None = None) -> None:
        if num_classes is not None and not 0 < num_classes <= IGNORED:
            raise InputError(f'num_classes must be from 1 to {IGNORED}, got {num_classes}')
        self.num_classes = num_classes
        self.label_map = _checked(label_map or {})

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``gt_seg_map``.

        Args:
            results: Dict from a dataset of mmseg.

        Returns:
            The same dict.

        Raises:
            MissingFileError: There is no such file.
            InputError: The file cannot be decoded or used; the message names it and says why.
        """
        path = results.get('seg_map_path')
        if path is None:
            return results
        stored = _read(path, results['ori_shape'])
        table = _new_labels(self.label_map, results['reduce_zero_label'], results.get('label_map'))
        if stored.dtype != np.uint8:
            stored = _narrowed(path, stored, self.label_map)
        labels = cv2.LUT(stored, table[:256]) if stored.dtype == np.uint8 else table[stored]
        if self.num_classes is not None:
            _check_labels(path, stored, labels, self.num_classes)
        results['gt_seg_map'] = labels
        results['seg_fields'].append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_classes={self.num_classes}, label_map={self.label_map})'


def _checked(label_map: dict) -> dict[int, int]:
    try:
        result = {int(old): int(new) for old, new in label_map.items()}
    except (AttributeError, TypeError, ValueError):
        result = {-1: -1}
    if not all(0 <= old <= _LARGEST and 0 <= new <= IGNORED for old, new in result.items()):
        raise InputError(
            f'label_map must be a dict of new labels (0 to {IGNORED}) by old ones (0 to {_LARGEST}) such as '
            f'{{255: 1}}, got {label_map!r}'
        )
    return result


def _check_labels(path: str, stored: np.ndarray, labels: np.ndarray, num_classes: int) -> None:
    # uint8 wraps around: classes come out above all others, and 255 just above the wrong labels.
    wrong = labels - np.uint8(num_classes) < IGNORED - num_classes
    if wrong.any():
        values, counts = np.unique(stored[wrong], return_counts=True)
        listed = ', '.join(f'{v} ({n} pixels)' for v, n in zip(values[:5], counts[:5], strict=True))
        raise InputError(
            f'label map {path} has labels outside the {num_classes} classes: {listed}. Correct the file or give '
            f'LoadLabelMap a label_map such as {{{values[0]}: 1}} (a class) or {{{values[0]}: {IGNORED}}} (ignored); '
            'or correct the classes of the dataset and num_classes of LoadLabelMap'
        )


def _read(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the numbers in a file: (H, W), uint8, of files of more than 8 bits int32 or uint16."""
    try:
        with Image.open(path) as image:
            mode, size = image.mode, image.size
            if mode in _MODES and size == shape[::-1]:
                return np.asarray(image).astype(np.uint8)
            if mode in _WIDE_MODES and size == shape[::-1]:
                return np.asarray(image)
    except FileNotFoundError as error:
        raise MissingFileError(f'label map {path} does not exist: every image needs one') from error
    except Exception as error:  # on damaged files the decoders raise almost anything
        raise InputError(f'label map {path} cannot be read: {type(error).__name__}: {error}') from error
    if mode not in (*_MODES, *_WIDE_MODES):
        raise InputError(
            f'label map {path} must have one channel of integers with a label a pixel, got mode {mode!r} of Pillow '
            '(RGB: colours, LA and RGBA: with alpha, F: floating point). Convert it to labels'
        )
    raise InputError(
        f'label map {path} is {size[0]}x{size[1]}, its image {shape[1]}x{shape[0]} (width x height). '
        'Make both files the same size'
    )


def _narrowed(path: str, stored: np.ndarray, label_map: dict[int, int]) -> np.ndarray:
    """Return the numbers of a file of more than 8 bits as uint8, or as uint16 if ``label_map`` has the larger ones."""
    if stored.max(initial=0) <= IGNORED and stored.min(initial=0) >= 0:
        return stored.astype(np.uint8)
    values, counts = np.unique(stored, return_counts=True)
    unknown = ((values > IGNORED) | (values < 0)) & ~np.isin(values, list(label_map))
    if unknown.any():
        listed = ', '.join(f'{v} ({n} pixels)' for v, n in zip(values[unknown][:5], counts[unknown][:5], strict=True))
        raise InputError(
            f'label map {path} has labels that do not fit 8 bits: {listed}. Correct the file or give LoadLabelMap a '
            f'label_map such as {{{values[unknown][0]}: {IGNORED}}} (ignored)'
        )
    return stored.astype(np.uint16)


def _new_labels(own: dict[int, int], reduce_zero_label: bool, label_map: dict[int, int] | None) -> np.ndarray:
    """Return the label for each number in a file: (65536,) uint8, 255 for those above 255 that ``own`` lacks."""
    labels: np.ndarray = np.full(_LARGEST + 1, IGNORED, dtype=np.uint8)
    labels[:IGNORED] = np.arange(IGNORED)
    for old, new in own.items():
        labels[old] = new
    if reduce_zero_label:
        # 0 becomes 255, which stays 255, as in mmseg.
        labels = np.where((labels == 0) | (labels == IGNORED), np.uint8(IGNORED), labels - np.uint8(1))
    renamed = labels.copy()
    for old, new in (label_map or {}).items():
        renamed[labels == old] = new
    return renamed
