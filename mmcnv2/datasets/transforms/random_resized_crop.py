"""Random crop of random area and aspect ratio of an image file, resized to one size and flipped."""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch.nn import functional as F

from mmcnv2.registry import TRANSFORMS
from mmcnv2.utils.errors import InputError

from ..bands import BandReader, Bands, Ranges

_TRIES = 10


@TRANSFORMS.register_module()
class LoadRandomResizedCrop(BaseTransform):
    """Read a random part of an image file, resize and perhaps flip it: the whole augmentation of the recipe.

    Source: MAE (arXiv:2111.06377, appendix A.1) and FCMAE (arXiv:2301.00808, appendix A). Area and
    aspect ratio are drawn as torchvision's RandomResizedCrop draws them: area uniform,
    aspect ratio log-uniform, 10 tries to find a crop that fits, then the largest centre crop within
    ``ratio``. Random numbers come from ``np.random``, which MMEngine seeds in every worker.

    It is one step for speed: the crop is drawn from the size in the file's header, and a JPEG
    file is then decoded at 1/2, 1/4 or 1/8 of its size, the smallest at which neither side of the crop is below
    ``size``. The crop's edges are then rounded to pixels of the smaller image: by half an output pixel at most.

    Resizing is antialiased; torch (2.1 or newer) gives Pillow's values to within rounding.

    Only the image is transformed: not for pipelines with boxes or masks.

    Required Keys:

    - img_path (str)
    - img_bytes (bytes, optional): Content of the file, where ``img_path`` names a file in an archive.

    Added Keys:

    - img (np.ndarray): (size[0], size[1], 3), uint8, RGB, values 0 to 255; with other ``bands``, C of them, uint8 or
      float32 as :class:`LoadImage` gives them.
    - img_shape (tuple[int, int]): ``size``.
    - ori_shape (tuple[int, int]): (H, W) of the upright image.

    Args:
        size: Output size, one number for a square or (height, width).
        scale: Smallest and largest area of the crop as a share of the image's, in (0, 1].
        ratio: Smallest and largest aspect ratio (width / height) of the crop.
        interpolation: 'bilinear' or 'bicubic'.
        flip_prob: Probability of swapping left and right, 0 to 1.
        bands: 'rgb', 'all' or indices, see :class:`LoadImage`.
        value_range: The values that become 0 and 255, see there.

    Raises:
        ValueError: An argument is outside its range.
    """

    def __init__(
        self,
        size: int | Sequence[int] = 224,
        scale: Sequence[float] = (0.2, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        flip_prob: float = 0.5,
        bands: Bands = 'rgb',
        value_range: Ranges = None,
    ) -> None:
        size = (size, size) if isinstance(size, int) else tuple(size)
        if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
            raise InputError(f'size must be a positive int or (height, width), got {size}')
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise InputError(f'scale must be (min, max) with 0 < min <= max <= 1, got {scale}')
        if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
            raise InputError(f'ratio must be (min, max) with 0 < min <= max, got {ratio}')
        if interpolation not in ('bilinear', 'bicubic'):
            raise InputError(f"interpolation must be 'bilinear' or 'bicubic', got {interpolation!r}")
        if not 0 <= flip_prob <= 1:
            raise InputError(f'flip_prob must be from 0 to 1, got {flip_prob}')
        self.size = size
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)
        self.interpolation = interpolation
        self.flip_prob = flip_prob
        self.reader = BandReader(bands, value_range)

    def sample_crop(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw a crop of an image of this size.

        Args:
            height: Image height.
            width: Image width.

        Returns:
            Top, left, height and width of the crop, in pixels, inside the image.
        """
        log_ratio = [math.log(ratio) for ratio in self.ratio]
        for _ in range(_TRIES):
            area = height * width * _uniform(*self.scale)
            aspect = math.exp(_uniform(*log_ratio))
            crop_h = round(math.sqrt(area / aspect))
            crop_w = round(math.sqrt(area * aspect))
            if 0 < crop_h <= height and 0 < crop_w <= width:
                top = int(_uniform(0, height - crop_h + 1))
                left = int(_uniform(0, width - crop_w + 1))
                return top, left, crop_h, crop_w

        # The image is too elongated for a crop of this area: take its middle, cut to the nearest ratio.
        aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
        crop_h = min(height, max(1, round(width / aspect)))
        crop_w = min(width, max(1, round(height * aspect)))
        return (height - crop_h) // 2, (width - crop_w) // 2, crop_h, crop_w

    def divisor(self, crop_h: int, crop_w: int) -> int:
        """Return how much smaller a JPEG file may be decoded so that neither side of the crop falls below ``size``.

        Args:
            crop_h: Height of the crop at full size.
            crop_w: Its width.

        Returns:
            8, 4, 2 or 1.
        """
        surplus = min(crop_h / self.size[0], crop_w / self.size[1])
        return max((divisor for divisor in (8, 4, 2) if divisor <= surplus), default=1)

    def resize(self, img: np.ndarray) -> np.ndarray:
        """Resize to ``size``.

        Args:
            img: (h, w, C), uint8 or float32, contiguous.

        Returns:
            (size[0], size[1], C), of the same type. No value is outside those of ``img``'s range: bicubic weights are
            partly negative, and 8 bits cut off what is beyond 0 and 255.
        """
        batch = torch.from_numpy(img)[None].permute(0, 3, 1, 2)  # channels-last, for which torch has fast code
        resized = F.interpolate(batch, self.size, mode=self.interpolation, antialias=True)
        if resized.is_floating_point():
            resized.clamp_(*batch.aminmax())
        return resized[0].permute(1, 2, 0).numpy()

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``img``, ``img_shape`` and ``ori_shape``.

        Args:
            results: Dict with the required keys.

        Returns:
            The same dict.

        Raises:
            UnreadableImageError: The file cannot be decoded.
            UnsupportedImageError: It can, with other ``bands`` or another ``value_range``.
        """
        file = self.reader.open(results['img_path'], results.get('img_bytes'))
        window = self.sample_crop(file.height, file.width)
        img = self.resize(file.read(*window, self.divisor(*window[2:])))
        # OpenCV drops the axis of a single band.
        results['img'] = cv2.flip(img, 1).reshape(img.shape) if np.random.random() < self.flip_prob else img
        results['img_shape'] = self.size
        results['ori_shape'] = (file.height, file.width)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, scale={self.scale}, ratio={self.ratio}, '
            f'interpolation={self.interpolation!r}, flip_prob={self.flip_prob}, {self.reader})'
        )


def _uniform(low: float, high: float) -> float:
    """Draw a number in [low, high); np.random.uniform and randint do the same in ten times the time."""
    return low + (high - low) * np.random.random()
