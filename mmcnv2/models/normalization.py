"""How the images that a network sees are normalised: what its data preprocessor subtracts and divides by."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Normalization(NamedTuple):
    """Mean and standard deviation of each channel, of pixels of 0 to 255, in RGB order if there are three."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        return f'mean {_listed(self.mean)}, std {_listed(self.std)}'

    def apply(self, images: Tensor) -> Tensor:
        """Return images (N, C, H, W) of 0 to 255, any dtype, as (image - mean) / std, float32."""
        mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1) for values in self)
        return (images - mean) / std


#: That of ImageNet's pixels: of the recipes, and of weights that do not say what they were trained with.
IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
#: Pixels as they are: of a data preprocessor without mean and std.
NONE = Normalization((0.0,), (1.0,))


def normalization_in(settings: Mapping[str, Any]) -> Normalization | None:
    """Return what the data preprocessor of a config does; None if the config has none.

    Args:
        settings: A whole config: ``model.data_preprocessor``, or ``data_preprocessor`` as mmpretrain has it.
    """
    preprocessor = (settings.get('model') or {}).get('data_preprocessor') or settings.get('data_preprocessor')
    if not isinstance(preprocessor, Mapping):
        return None
    mean, std = preprocessor.get('mean'), preprocessor.get('std')
    if mean is None or std is None:
        return NONE
    return Normalization(tuple(map(float, mean)), tuple(map(float, std)))


def normalization_of(preprocessor: nn.Module) -> Normalization:
    """Return what a data preprocessor of MMEngine does."""
    buffers = dict(preprocessor.named_buffers())
    if 'mean' not in buffers:
        return NONE
    return Normalization(*(tuple(buffers[name].flatten().tolist()) for name in ('mean', 'std')))


def _listed(values: tuple[float, ...]) -> str:
    return ', '.join(f'{value:g}' for value in values)
