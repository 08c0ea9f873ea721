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
