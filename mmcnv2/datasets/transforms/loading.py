"""Read image files: whole, as RGB or with all their bands."""

import os
from typing import Any

from mmcv.transforms import BaseTransform, LoadImageFromFile
from PIL import Image, UnidentifiedImageError

from mmcnv2.registry import TRANSFORMS

from ..bands import BandReader, Bands, Ranges
from ..images import (
    UnreadableImageError,
    has_more_than_8_bits,
    unreadable,
    warn_of_lost_bands,
    warn_of_lost_bits,
)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read an image file of one or more bands, of any depth, for pipelines of any library.

    Required Keys:

    - img_path (str)
    - img_bytes (bytes, optional): Content of the file, where ``img_path`` names a file in an archive.

    Added Keys:

    - img (np.ndarray): (H, W, C). With 'rgb': uint8, RGB, C = 3. Otherwise uint8 for files of 8 bits and float32 for
      all others, with the values of the file; or, with a ``value_range``, float32 from 0 to 255.
    - img_shape (tuple[int, int]): (H, W).
    - ori_shape (tuple[int, int]): (H, W).

    (mmcv's ``LoadImageFromFile`` gives BGR, so that data preprocessors have ``bgr_to_rgb=True``. This one does not.)

    Args:
        bands: 'rgb': 8-bit RGB, whatever the file is; see :class:`mmcnv2.datasets.images.ImageFile`. 'all': every band
            of the file, see :class:`mmcnv2.datasets.bands.BandFile`. A list of indices from 0: these, in this order.
        value_range: The values that become 0 and 255, others are clipped: two numbers, a pair for each band that is
            read, or the path of a file of ``mmcnv2 stats``. None: values stay as they are. Not with 'rgb'.

    Raises:
        InputError: An argument is wrong.
        UnreadableImageError: While reading: the file cannot be decoded.
        UnsupportedImageError: While reading: it can, with another setting, which the message names.
    """

    def __init__(self, bands: Bands = 'rgb', value_range: Ranges = None) -> None:
        self.reader = BandReader(bands, value_range)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``img``, ``img_shape`` and ``ori_shape``.

        Args:
            results: Dict with the required keys.

        Returns:
            The same dict.
        """
        file = self.reader.open(results['img_path'], results.get('img_bytes'))
        results['img'] = file.read(0, 0, file.height, file.width)
        results['img_shape'] = results['ori_shape'] = (file.height, file.width)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.reader})'


@TRANSFORMS.register_module()
class LoadRGBImage(LoadImage):
    """:class:`LoadImage` with its default, 8-bit RGB."""

    def __init__(self) -> None:
        super().__init__()

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


class LoadCheckedImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile``, with the same pixels, whose errors name the file and the reason.

    It also refuses a picture with more pixels than Pillow allows (twice ``PIL.Image.MAX_IMAGE_PIXELS``) by its header,
    before taking any memory, and one whose size is not that of the annotation file (``height`` and ``width``): its
    boxes would be misplaced. The tools use it instead of mmcv's, see ``engine/safe_loaders.py``.

    Raises:
        UnreadableImageError: The file is missing or damaged, or has another size.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """See mmcv."""
        path = results['img_path']
        is_deep = False
        # The path may be one in a store that mmengine.fileio knows. tifffile reads kinds that Pillow does not.
        if os.path.isfile(path) and self.imdecode_backend != 'tifffile':
            is_deep = self._check(path)
        with unreadable(path):
            loaded = super().transform(results)
        if is_deep and loaded is not None:
            warn_of_lost_bits(path, loaded['img'])
        expected = (results.get('height'), results.get('width'))
        if loaded is not None and None not in expected and results['ori_shape'] != expected:
            height, width = results['ori_shape']
            raise UnreadableImageError(
                path,
                f'the image is {width}x{height}, the annotation file says {expected[1]}x{expected[0]} (width x '
                'height; EXIF orientation is applied, as viewers do). Correct one of them',
            )
        return loaded

    def _check(self, path: str) -> bool:
        """Read the header, warn of bands that RGB loses, and return whether it narrows the bits, too.

        Raises:
            UnsupportedImageError: Pillow does not know the kind of file, and another transform reads it.
        """
        with unreadable(path):
            try:
                image = Image.open(path)
            except UnidentifiedImageError:
                BandReader().open(path)
                raise
            with image:
                if self.color_type != 'color':
                    return False
                is_deep = has_more_than_8_bits(image)
                warn_of_lost_bands(path, image)
                return is_deep
