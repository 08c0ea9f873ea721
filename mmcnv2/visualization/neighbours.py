"""A sheet of images and those that a network finds most alike."""

from collections.abc import Sequence

import cv2
import numpy as np

from .sheets import contact_sheet


def neighbour_sheet(rows: Sequence[Sequence[np.ndarray]], texts: Sequence[Sequence[str]]) -> np.ndarray:
    """Draw a row for each query: its image, framed, then its neighbours, the nearest first.

    Args:
        rows: Images (S, S, 3) uint8, RGB, all of one size.
        texts: What stands below each.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    cells = []
    for images, captions in zip(rows, texts, strict=True):
        framed = images[0].copy()
        cv2.rectangle(framed, (0, 0), (framed.shape[1] - 1, framed.shape[0] - 1), (219, 68, 55), 3)
        cells.append([_captioned(*pair) for pair in zip([framed, *images[1:]], captions, strict=True)])
    titles = ['query', *(str(i) for i in range(1, len(cells[0])))]
    return contact_sheet(cells, titles)


def _captioned(image: np.ndarray, text: str) -> np.ndarray:
    out = cv2.copyMakeBorder(image, 0, 16, 0, 0, cv2.BORDER_CONSTANT, value=(255,) * 3)
    cv2.putText(out, text, (2, len(out) - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
    return out
