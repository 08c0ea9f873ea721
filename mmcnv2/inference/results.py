"""What ``Predictor`` yields: an image with what was found in it, as NumPy arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class Result:
    """An image with what a model says of it.

    Attributes:
        path: The file of the image or the video; None of an array or a camera.
        image: (H, W, 3) uint8, RGB, upright; of other bands than these a picture of three of them.
        classes: Names of the classes, () of FCMAE.
        frame: Number of the frame in a video or of a camera, from 0; None of an image.
    """

    path: str | None
    image: np.ndarray
    classes: tuple[str, ...] = ()
    frame: int | None = None

    def draw(self) -> np.ndarray:
        """Return the image with the result drawn on it, (H, W, 3) uint8, RGB."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Detections(Result):
    """Objects, the surest first.

    Attributes:
        boxes: (n, 4) float32: x1, y1, x2, y2 in pixels of the image.
        scores: (n,) float32, from 0 to 1.
        labels: (n,) int64, indices of ``classes``.
        parts: Of a detector with masks: for each object (x, y, mask), the mask (h, w) bool of the part of the image
            whose upper left pixel is (x, y); nothing of the object is outside. None: no masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    parts: Sequence[tuple[int, int, np.ndarray]] | None = None

    @property
    def masks(self) -> np.ndarray | None:
        """(n, H, W) bool, or None of a detector without masks. Made when asked for: large images, much memory."""
        if self.parts is None:
            return None
        height, width = self.image.shape[:2]
        masks = [self.mask(i) for i in range(len(self.parts))]
        return np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool)

    def mask(self, index: int) -> np.ndarray:
        """Return the mask of one object, (H, W) bool."""
        assert self.parts is not None
        x, y, part = self.parts[index]
        if part.shape == self.image.shape[:2]:
            return part
        mask = np.zeros(self.image.shape[:2], dtype=bool)
        mask[y : y + part.shape[0], x : x + part.shape[1]] = part
        return mask

    def draw(self) -> np.ndarray:
        """See the base."""
        from mmcnv2.visualization import draw_boxes, draw_instances

        texts = [f'{self.classes[label]} {score:.2f}' for label, score in zip(self.labels, self.scores, strict=True)]
        masks, labels = self.masks, self.labels.tolist()
        if masks is not None:
            return draw_instances(self.image, masks, labels, texts, self.boxes)
        return draw_boxes(self.image, self.boxes, labels, texts)


@dataclass(kw_only=True)
class Segmentation(Result):
    """The class of each pixel.

    Attributes:
        label_map: (H, W) uint8 (uint16 of more than 256 classes), indices of ``classes``.
    """

    label_map: np.ndarray

    def draw(self) -> np.ndarray:
        """See the base."""
        from mmcnv2.visualization import background_of, draw_label_map

        return draw_label_map(self.image, self.label_map, self.classes, background_of(self.classes))


@dataclass(kw_only=True)
class Reconstruction(Result):
    """What FCMAE makes of the patches that it does not see.

    Attributes:
        mask: (h, w) bool, True = removed: the patches of the image as the model sees it.
        reconstruction: (H, W, 3) uint8, RGB: the image, with removed patches as predicted.
        masked: (H, W, 3) uint8, RGB: the image, with removed patches in grey.
    """

    mask: np.ndarray
    reconstruction: np.ndarray
    masked: np.ndarray

    def draw(self) -> np.ndarray:
        """Return image, masked image and reconstruction side by side, (H, 3 * (W + 4) - 4, 3) uint8, RGB."""
        from mmcnv2.visualization import contact_sheet

        return contact_sheet([[self.image, self.masked, self.reconstruction]])


@dataclass(kw_only=True)
class Classification(Result):
    """The class of an image.

    Attributes:
        label: Index of the likeliest class.
        probabilities: (classes,) float32, with the sum 1.
    """

    label: int
    probabilities: np.ndarray

    def draw(self) -> np.ndarray:
        """See the base."""
        from mmcnv2.visualization import draw_caption

        return draw_caption(self.image, f'{self.classes[self.label]} {self.probabilities[self.label]:.2f}', self.label)
