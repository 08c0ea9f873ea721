"""Small images with their instances or label maps drawn on them, for contact sheets."""

from collections.abc import Sequence

import cv2
import numpy as np

#: One colour (RGB) per class, in turn.
COLOURS = ((66, 133, 244), (219, 68, 55), (244, 180, 0), (15, 157, 88), (171, 71, 188), (0, 172, 193))


def draw_instances(image: np.ndarray, masks: np.ndarray, labels: Sequence[int], texts: Sequence[str]) -> np.ndarray:
    """Draw masks, their boxes and a text each.

    Args:
        image: (H, W, 3) uint8, RGB.
        masks: (n, H, W) bool.
        labels: n class indices from 0, which choose the colours.
        texts: n texts, e.g. the class name and the score.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    out = image.copy()
    for mask, label in zip(masks, labels, strict=True):
        out[mask] = out[mask] // 2 + np.array(_colour(label), dtype=np.uint8) // 2
    return draw_boxes(out, [cv2.boundingRect(mask.astype(np.uint8)) for mask in masks], labels, texts)


def draw_boxes(
    image: np.ndarray, boxes: Sequence[Sequence[float]], labels: Sequence[int], texts: Sequence[str]
) -> np.ndarray:
    """Draw boxes and a text each.

    Args:
        image: (H, W, 3) uint8, RGB.
        boxes: n boxes: x, y, width and height in pixels.
        labels: n class indices from 0, which choose the colours.
        texts: n texts, e.g. the class name and the score.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    out = image.copy()
    for box, label, text in zip(boxes, labels, texts, strict=True):
        x, y, width, height = (round(value) for value in box)
        cv2.rectangle(out, (x, y), (x + width - 1, y + height - 1), _colour(label), 1)
        for shade, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            origin = (x + 2, max(y + 11, 11))
            cv2.putText(out, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.38, shade, thickness, cv2.LINE_AA)
    return out


def draw_label_map(image: np.ndarray, label_map: np.ndarray) -> np.ndarray:
    """Tint ``image`` (H, W, 3) uint8 RGB by ``label_map`` (H, W), where 0 is background and 255 ignored."""
    out = image.copy()
    for label in np.setdiff1d(np.unique(label_map), (0, 255)):
        region = label_map == label
        out[region] = out[region] // 2 + np.array(_colour(label - 1), dtype=np.uint8) // 2
    return out


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]] | np.ndarray, titles: Sequence[str] = (), gap: int = 4
) -> np.ndarray:
    """Arrange images of one size (H, W, 3) uint8 in rows and columns, with white gaps and column titles."""
    cells = [
        [cv2.copyMakeBorder(cell, 0, gap, 0, gap, cv2.BORDER_CONSTANT, value=(255,) * 3) for cell in row]
        for row in rows
    ]
    sheet = np.vstack([np.hstack(row) for row in cells])[:-gap, :-gap]
    if not titles:
        return sheet
    header = np.full((24, sheet.shape[1], 3), 255, dtype=np.uint8)
    for i, title in enumerate(titles):
        origin = (i * cells[0][0].shape[1] + 4, 17)
        cv2.putText(header, title, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([header, sheet])


def _colour(label: int) -> tuple[int, int, int]:
    return COLOURS[int(label) % len(COLOURS)]
