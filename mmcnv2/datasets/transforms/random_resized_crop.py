"""Random crop of random area and aspect ratio, resized to one size."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from mmcnv2.registry import TRANSFORMS

_TRIES = 10


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Crop a random part of the image and resize it, the only augmentation besides the flip.

    Source: MAE (arXiv:2111.06377, appendix A.1) and FCMAE (arXiv:2301.00808, appendix A). Area and
    aspect ratio are drawn as the transform of the same name in torchvision draws them: area uniform,
    aspect ratio log-uniform, 10 tries to find a crop that fits, then the largest centre crop within
    ``ratio``. Pillow resizes with antialiasing. Random numbers come from ``np.random``, which
    MMEngine seeds in every worker.

    Only the image is changed: not for pipelines with boxes or masks.

    Required Keys:

    - img (np.ndarray): (H, W, 3), uint8.

    Modified Keys:

    - img (np.ndarray): (size[0], size[1], 3), uint8.
    - img_shape (tuple[int, int]): ``size``.

    Args:
        size: Output size, one number for a square or (height, width).
        scale: Smallest and largest area of the crop as a share of the image's, in (0, 1].
        ratio: Smallest and largest aspect ratio (width / height) of the crop.
        interpolation: 'nearest', 'box', 'bilinear', 'hamming', 'bicubic' or 'lanczos'.

    Raises:
        ValueError: An argument is outside its range.
    """

    def __init__(
        self,
        size: int | Sequence[int] = 224,
        scale: Sequence[float] = (0.2, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
    ) -> None:
        size = (size, size) if isinstance(size, int) else tuple(size)
        if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
            raise ValueError(f'size must be a positive int or (height, width), got {size}')
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f'scale must be (min, max) with 0 < min <= max <= 1, got {scale}')
        if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f'ratio must be (min, max) with 0 < min <= max, got {ratio}')
        names = [method.name.lower() for method in Image.Resampling]
        if interpolation not in names:
            raise ValueError(f'interpolation must be one of {names}, got {interpolation!r}')
        self.size = size
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)
        self.interpolation = interpolation

    def sample_crop(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw a crop of an image of this size.

        Args:
            height: Image height.
            width: Image width.

        Returns:
            Top, left, height and width of the crop, in pixels, inside the image.
        """
        log_ratio = np.log(self.ratio)
        for _ in range(_TRIES):
            area = height * width * np.random.uniform(*self.scale)
            aspect = math.exp(np.random.uniform(*log_ratio))
            crop_h = round(math.sqrt(area / aspect))
            crop_w = round(math.sqrt(area * aspect))
            if 0 < crop_h <= height and 0 < crop_w <= width:
                top = np.random.randint(height - crop_h + 1)
                left = np.random.randint(width - crop_w + 1)
                return top, left, crop_h, crop_w

        # The image is too elongated for a crop of this area: its middle, cut to the nearest ratio.
        aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
        crop_h = min(height, max(1, round(width / aspect)))
        crop_w = min(width, max(1, round(height * aspect)))
        return (height - crop_h) // 2, (width - crop_w) // 2, crop_h, crop_w

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace ``img`` by a resized random crop.

        Args:
            results: Dict with ``img``.

        Returns:
            The same dict.

        Raises:
            TypeError: ``img`` is not a uint8 array of shape (H, W, 3).
        """
        img = results['img']
        if img.dtype != np.uint8 or img.ndim != 3 or img.shape[2] != 3:
            raise TypeError(f'img must be uint8 (H, W, 3), got {img.dtype} {img.shape}')
        top, left, crop_h, crop_w = self.sample_crop(*img.shape[:2])
        crop = Image.fromarray(img).resize(
            (self.size[1], self.size[0]),
            Image.Resampling[self.interpolation.upper()],
            box=(left, top, left + crop_w, top + crop_h),
        )
        results['img'] = np.array(crop)
        results['img_shape'] = self.size
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.size}, scale={self.scale}, ratio={self.ratio}, '
            f'interpolation={self.interpolation!r})'
        )
