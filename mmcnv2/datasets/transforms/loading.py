"""Read an image file of any usual kind as 8-bit RGB."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from mmcnv2.registry import TRANSFORMS

_EXIF_ORIENTATION = 0x0112
# What brings a picture stored with each EXIF orientation upright (EXIF 2.32, tag 0x0112).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(OSError):
    """An image file which cannot be decoded. Nothing else raises it, so a dataset may skip on it.

    Args:
        path: The file.
        reason: Why it cannot be read.
    """

    def __init__(self, path: str, reason: str = '') -> None:
        super().__init__(f'{path!r}: {reason}' if reason else path)
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple:
        # OSError would rebuild it from the joined message; workers send it between processes.
        return type(self), (self.path, self.reason)


@TRANSFORMS.register_module()
class LoadRGBImage(BaseTransform):
    """Read an image file as RGB, whatever it is stored as.

    Grey becomes three equal channels, an alpha channel is dropped (what ``convert('RGB')`` does, as
    in the MAE and ConvNeXt V2 loaders), palette and CMYK are converted, 16-bit grey keeps its upper
    8 bits, of an animation the first frame is read. EXIF orientation is applied; colour profiles are
    ignored. Pillow's limit for huge images (``PIL.Image.MAX_IMAGE_PIXELS``) stays as it is set.

    Required Keys:

    - img_path (str)

    Added Keys:

    - img (np.ndarray): (H, W, 3), uint8, RGB, values 0 to 255.
    - img_shape (tuple[int, int]): (H, W).
    - ori_shape (tuple[int, int]): (H, W).

    Raises:
        UnreadableImageError: The file is missing, damaged, no image, or of a kind that has no
            8-bit meaning (floating point, 32-bit integers).
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``img``, ``img_shape`` and ``ori_shape``.

        Args:
            results: Dict with ``img_path``.

        Returns:
            The same dict.
        """
        path = results['img_path']
        try:
            with Image.open(path) as image:
                image.load()
                img = np.array(_to_rgb(_upright(image)))
        # On damaged input Pillow's decoders raise nearly anything: OSError, SyntaxError, ValueError,
        # EOFError, struct.error, DecompressionBombError, ... The block has nothing but decoding.
        except Exception as error:
            raise UnreadableImageError(path, f'{type(error).__name__}: {error}') from error
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation of a loaded image; unreadable EXIF data count as none."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return image
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to mode RGB."""
    if image.mode == 'F':
        raise ValueError('floating-point pixels have no fixed range; convert the file to 8 bits')
    if image.mode == 'I' or image.mode.startswith('I;16'):
        # Pillow clips 16-bit grey to 255. Its own readers of 16-bit colour keep the upper byte.
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError('integer pixels outside 0 to 65535; convert the file to 8 bits')
        image = Image.fromarray((values >> 8).astype(np.uint8))
    # Alpha is dropped anyway; converting a transparent palette colour takes time and warns.
    image.info.pop('transparency', None)
    return image.convert('RGB')
