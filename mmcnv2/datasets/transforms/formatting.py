"""Turn the results of a pipeline into the input of a model."""

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement

from mmcnv2.registry import TRANSFORMS

_META_KEYS = ('img_path', 'img_shape', 'ori_shape')


@TRANSFORMS.register_module()
class PackUnlabelled(BaseTransform):
    """Pack an image without labels for the model.

    Normalisation is left to the model's data preprocessor, so that workers send 8-bit images where files have 8 bits.

    Required Keys:

    - img (np.ndarray): (H, W, C), or (H, W) of one band, uint8 or float32.
    - img_path (str)
    - img_shape (tuple[int, int])
    - ori_shape (tuple[int, int])
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Make the model's input.

        Args:
            results: Dict with the required keys.

        Returns:
            ``inputs``, a contiguous tensor (C, H, W) with the values of ``img``, and ``data_samples``, a
            :class:`mmengine.structures.BaseDataElement` with the other keys as metainfo.

        Raises:
            TypeError: ``img`` is not a uint8 or float32 array of shape (H, W, C) or (H, W).
        """
        img = results['img']
        if img.dtype not in (np.uint8, np.float32) or img.ndim not in (2, 3):
            raise TypeError(f'img must be uint8 or float32 (H, W, C), got {img.dtype} {img.shape}')
        if img.ndim == 2:  # OpenCV drops the axis of a single band
            img = img[..., None]
        # torch does not accept the negative strides of a numpy flip, but swaps axes faster than numpy.
        inputs = torch.from_numpy(np.ascontiguousarray(img)).permute(2, 0, 1).contiguous()
        metainfo = {key: results[key] for key in _META_KEYS}
        return dict(inputs=inputs, data_samples=BaseDataElement(metainfo=metainfo))

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
