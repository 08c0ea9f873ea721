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


@TRANSFORMS.register_module()
class LoadLabelMap(BaseTransform):
    """mmseg's ``LoadAnnotations`` for one label per pixel, which checks what it reads.

    mmseg's casts whatever the file holds to 8 bits: 16-bit labels wrap around, and a colour picture fails in the loss.
    Here the file must have one channel of up to 8 bits (grey, or a palette, whose indices are the labels), the size of
    its image, and no label that is neither a class nor ignored.

    Without ``seg_map_path``, as in mmseg's inference on a bare image, it does nothing.

    Required Keys:

    - seg_map_path (str, optional)
    - ori_shape (tuple[int, int]): (H, W) of the image file.
    - reduce_zero_label (bool): Whether label 0 is ignored and the others are reduced by one.
    - label_map (dict[int, int], optional): New labels by old ones.
    - seg_fields (list[str])

    Modified Keys:

    - gt_seg_map (np.ndarray): Added: (H, W), uint8, labels of the dataset's classes, 255 ignored.
    - seg_fields

    Args:
        num_classes: Number of classes of the dataset; None: labels are not checked.
    """

    def __init__(self, num_classes: int | None = None) -> None:
        if num_classes is not None and not 0 < num_classes <= IGNORED:
            raise InputError(f'num_classes must be from 1 to {IGNORED}, got {num_classes}')
        self.num_classes = num_classes

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
        labels = cv2.LUT(stored, _new_labels(results['reduce_zero_label'], results.get('label_map')))
        if self.num_classes is not None:
            _check_labels(path, stored, labels, self.num_classes)
        results['gt_seg_map'] = labels
        results['seg_fields'].append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_classes={self.num_classes})'


def _check_labels(path: str, stored: np.ndarray, labels: np.ndarray, num_classes: int) -> None:
    # uint8 wraps around: classes come out above all others, and 255 just above the wrong labels.
    wrong = labels - np.uint8(num_classes) < IGNORED - num_classes
    if wrong.any():
        values, counts = np.unique(stored[wrong], return_counts=True)
        listed = ', '.join(f'{v} ({n} pixels)' for v, n in zip(values[:5], counts[:5], strict=True))
        raise InputError(
            f'label map {path} has labels outside the {num_classes} classes: {listed}. Correct the file, set '
            f'these pixels to {IGNORED} (ignored), or correct the classes of the dataset and num_classes of '
            'LoadLabelMap'
        )


def _read(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the numbers in a file: (H, W), uint8."""
    try:
        with Image.open(path) as image:
            mode, size = image.mode, image.size
            if mode in _MODES and size == shape[::-1]:
                return np.asarray(image).astype(np.uint8)
    except FileNotFoundError as error:
        raise MissingFileError(f'label map {path} does not exist: every image needs one') from error
    except Exception as error:  # on damaged files the decoders raise almost anything
        raise InputError(f'label map {path} cannot be read: {type(error).__name__}: {error}') from error
    if mode not in _MODES:
        raise InputError(
            f'label map {path} must have one channel of 8 bits with a label a pixel, got mode {mode!r} of Pillow '
            '(RGB: colours, I and I;16: more than 8 bits, F: floating point). Convert it to labels'
        )
    raise InputError(
        f'label map {path} is {size[0]}x{size[1]}, its image {shape[1]}x{shape[0]} (width x height). '
        'Make both files the same size'
    )


def _new_labels(reduce_zero_label: bool, label_map: dict[int, int] | None) -> np.ndarray:
    """Return the label for each of the 256 numbers in a file."""
    labels = np.arange(256, dtype=np.uint8)
    if reduce_zero_label:
        labels[1:IGNORED] -= 1
        labels[0] = IGNORED
    renamed = labels.copy()
    for old, new in (label_map or {}).items():
        renamed[labels == old] = new
    return renamed
