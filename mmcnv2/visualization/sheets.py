"""Images of one size in rows and columns."""

from collections.abc import Sequence

import cv2
import numpy as np


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


def padded_sheet(samples: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Arrange images of any sizes (H, W, 3) uint8 in rows of so many, with white around them."""
    height, width = (max(sample.shape[axis] for sample in samples) for axis in (0, 1))
    cells = [
        cv2.copyMakeBorder(
            sample, 0, height - len(sample), 0, width - sample.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3
        )
        for sample in samples
    ]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    return contact_sheet([cells[i : i + columns] for i in range(0, len(cells), columns)])
