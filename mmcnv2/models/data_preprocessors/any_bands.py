"""What lets a data preprocessor of MMEngine, mmseg or mmdet normalise any number of bands."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from mmengine.model import BaseDataPreprocessor

from mmcnv2.utils.errors import InputError

_Base: Any = BaseDataPreprocessor if TYPE_CHECKING else object


class AnyBands(_Base):
    """A base that comes before a library's preprocessor, which takes one mean or three.

    Args:
        mean: One number for each band of an image, or one for all; None: images are not normalised.
        std: As many, above 0.
        **kwargs: Of the library's preprocessor.

    Raises:
        InputError: ``mean`` and ``std`` do not fit each other. In use: they do not fit the images, or ``bgr_to_rgb``
            meets others than those of three bands.
    """

    def __init__(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mean is None and std is None:
            return
        if mean is None or std is None or len(mean) != len(std) or not len(mean):
            raise InputError(f'mean and std must have as many numbers, got {mean} and {std}')
        if min(std) <= 0:
            raise InputError(
                f'std must be above 0, got {list(std)}: a band of one value tells nothing: leave it out (bands=...) '
                'or give 1'
            )
        self._enable_normalize = True
        for name, values in (('mean', mean), ('std', std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def cast_data(self, data: Any) -> Any:
        """Move data to the device of the model, see MMEngine, and compare the number of bands."""
        if isinstance(data, dict) and 'inputs' in data:
            self._check(data['inputs'][0].shape[-3])
        return super().cast_data(data)

    def _check(self, count: int) -> None:
        if self._enable_normalize and len(self.mean) not in (1, count):
            raise InputError(
                f'data_preprocessor: images have {count} bands, mean and std {len(self.mean)} numbers. Make them fit: '
                'bands of the loading transform, or mean and std'
            )
        if self._channel_conversion and count != 3:
            raise InputError(
                f'data_preprocessor: bgr_to_rgb and rgb_to_bgr are for 3 bands, images have {count}. Set them to '
                'False; bands of the loading transform sets the order'
            )
