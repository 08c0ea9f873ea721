"""Images with their boxes, instances, label map or class drawn on them, by supervision."""

from collections.abc import Sequence
from typing import Any

import numpy as np

IGNORED = 255
#: A colour for each class, in turn; white text is legible on all of them.
PALETTE = (
    *('#3b6fd4', '#d23f31', '#0f8a4c', '#a8620a', '#8e3ba8', '#00808f', '#c2185b', '#5a6b00', '#5c4bd3', '#9c4a2f'),
    *('#007a6b', '#b0306a', '#44679a', '#7a5c1e', '#2e7d32', '#7b1fa2', '#b23c00', '#455a64', '#0277a8', '#8a2846'),
)
_OPACITY = 0.45
_FONT_SIZES = (11, 28)
_FEW = 12  # objects in an image, all of which have their text
_PIXELS_OF_FONT = 45  # of the shorter side of an image, one pixel of the font


def draw_boxes(
    image: np.ndarray, boxes: Sequence[Sequence[float]] | np.ndarray, labels: Sequence[int], texts: Sequence[str]
) -> np.ndarray:
    """Draw boxes and a text each.

    Args:
        image: (H, W, 3) uint8, RGB.
        boxes: n boxes: x1, y1, x2, y2 in pixels.
        labels: n class indices from 0, which choose the colours.
        texts: n texts, e.g. the class name and the score; '' for none.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    return _annotated(image, boxes, labels, texts, None)


def draw_instances(
    image: np.ndarray,
    masks: np.ndarray,
    labels: Sequence[int],
    texts: Sequence[str],
    boxes: Sequence[Sequence[float]] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw masks, smaller ones over larger ones, their boxes and a text each.

    Args:
        image: (H, W, 3) uint8, RGB.
        masks: (n, H, W) bool.
        labels: See ``draw_boxes``.
        texts: See ``draw_boxes``.
        boxes: See ``draw_boxes``. None: those around the masks.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    masks = np.asarray(masks, dtype=bool).reshape(-1, *image.shape[:2])
    return _annotated(image, boxes, labels, texts, masks)


def draw_label_map(
    image: np.ndarray, label_map: np.ndarray, classes: Sequence[str] | None = None, background: int | None = 0
) -> np.ndarray:
    """Tint an image by the class of each pixel.

    Args:
        image: (H, W, 3) uint8, RGB.
        label_map: (H, W) class indices; 255 is ignored and stays as it is.
        classes: Names to write on the regions. None: no names.
        background: The class that stays as it is; None: none does.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    sv = _supervision()
    present = [int(label) for label in np.unique(label_map) if label not in (IGNORED, background)]
    if not present:
        return image.copy()
    masks = np.stack([label_map == label for label in present])
    found = sv.Detections(xyxy=sv.mask_to_xyxy(masks), mask=masks, class_id=_colours(present, background))
    scene = sv.MaskAnnotator(_palette(sv), opacity=_OPACITY).annotate(_bgr(image), found)
    if classes is not None:
        largest = [label for label, mask in zip(present, masks, strict=True) if mask.mean() > 0.002]
        names = found[np.isin(present, largest)]
        writer = _writer(sv, image, sv.Position.CENTER_OF_MASS)
        scene = writer.annotate(scene, names, [classes[label] for label in largest])
    return np.ascontiguousarray(scene[..., ::-1])


def background_of(classes: Sequence[str]) -> int | None:
    """Return the index of the class that pictures leave as it is, the one with the name background; None: none."""
    return next((i for i, name in enumerate(classes) if name.lower() == 'background'), None)


def draw_caption(image: np.ndarray, text: str, label: int) -> np.ndarray:
    """Write a text in the upper left corner of an image (H, W, 3) uint8 RGB, in the colour of a class."""
    height, width = image.shape[:2]
    sv = _supervision()
    whole = sv.Detections(xyxy=np.array([[0, 0, width, height]], np.float32), class_id=np.array([label]))
    scene = _writer(sv, image, sv.Position.TOP_LEFT).annotate(_bgr(image), whole, [text])
    return np.ascontiguousarray(scene[..., ::-1])


def _supervision() -> Any:
    """Import the package, which takes a second, once something is drawn."""
    import supervision

    return supervision


def _annotated(
    image: np.ndarray, boxes: Any, labels: Sequence[int], texts: Sequence[str], masks: np.ndarray | None
) -> np.ndarray:
    if not len(labels):
        return image.copy()
    sv = _supervision()
    xyxy = sv.mask_to_xyxy(masks) if boxes is None else np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    found = sv.Detections(xyxy=xyxy, mask=masks, class_id=_colours(labels))
    scene = _bgr(image)
    if masks is not None:
        scene = sv.MaskAnnotator(_palette(sv), opacity=_OPACITY).annotate(scene, found)
    thickness = 1 if min(image.shape[:2]) < 400 else sv.calculate_optimal_line_thickness(image.shape[1::-1])
    scene = sv.BoxAnnotator(_palette(sv), thickness=thickness).annotate(scene, found)
    written = _written(image, xyxy, texts)
    if written.any():
        chosen = [text for text, is_written in zip(texts, written, strict=True) if is_written]
        scene = _writer(sv, image, sv.Position.TOP_LEFT).annotate(scene, found[written], chosen)
    return np.ascontiguousarray(scene[..., ::-1])


def _written(image: np.ndarray, boxes: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Return which texts are written, (n,) bool: of many objects, those that do not hide more than their object."""
    size = _font_size(image)
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    areas = np.array([0.6 * size * len(text) * 1.4 * size for text in texts])  # about: letters are 0.6 wide
    return (areas > 0) & ((len(texts) <= _FEW) | (areas <= widths * heights))


def _font_size(image: np.ndarray) -> int:
    return int(np.clip(min(image.shape[:2]) // _PIXELS_OF_FONT, *_FONT_SIZES))


def _writer(sv: Any, image: np.ndarray, position: Any) -> Any:
    """Return what writes texts; it knows any letters, and moves texts apart and into the image."""
    size = _font_size(image)
    return sv.RichLabelAnnotator(
        _palette(sv), font_size=size, text_padding=max(size // 6, 2), text_position=position, smart_position=True
    )


def _palette(sv: Any) -> Any:
    return sv.ColorPalette.from_hex(list(PALETTE))


def _colours(labels: Sequence[int], background: int | None = None) -> np.ndarray:
    """Return which colour each class has: with a background 0, class 1 has the first."""
    return (np.asarray(labels, dtype=int) - (background == 0)) % len(PALETTE)


def _bgr(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[..., ::-1])
