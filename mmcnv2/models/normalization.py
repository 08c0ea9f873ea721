"""How the images that a network sees are normalised: what its data preprocessor subtracts and divides by."""

from collections.abc import Iterator, Mapping
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
    """Return what a config does: its data preprocessor, else a ``Normalize`` in the pipeline of its training.

    Args:
        settings: A whole config, with ``model.data_preprocessor``, or ``data_preprocessor`` as mmpretrain has it.

    Returns:
        Mean and std; None if the config has no data preprocessor.
    """
    preprocessor = (settings.get('model') or {}).get('data_preprocessor') or settings.get('data_preprocessor')
    while isinstance(preprocessor, Mapping) and 'data_preprocessor' in preprocessor:  # one for several branches
        preprocessor = preprocessor['data_preprocessor']
    if not isinstance(preprocessor, Mapping):
        return None
    if preprocessor.get('mean') is None:
        preprocessor = next(_transforms('Normalize', settings.get('train_dataloader')), None)
        if preprocessor is None:
            return NONE
    return Normalization(*(tuple(map(float, preprocessor[name])) for name in ('mean', 'std')))


def normalization_of(preprocessor: nn.Module) -> Normalization:
    """Return what a data preprocessor of MMEngine does."""
    buffers = dict(preprocessor.named_buffers())
    if 'mean' not in buffers:
        return NONE
    return Normalization(*(tuple(buffers[name].flatten().tolist()) for name in ('mean', 'std')))


def _transforms(name: str, settings: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the transforms of a type in the settings of a data loader."""
    if isinstance(settings, Mapping):
        if str(settings.get('type')).rpartition('.')[2] == name:
            yield settings
        settings = settings.values()
    elif not isinstance(settings, list | tuple):
        return
    for value in settings:
        yield from _transforms(name, value)


def _listed(values: tuple[float, ...]) -> str:
    return ', '.join(f'{value:g}' for value in values)
