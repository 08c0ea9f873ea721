"""Find data loaders that would yield no batch, or batches too small for the model, once they are built."""

import math
from collections.abc import Iterator
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.runner import FlexibleRunner, Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from mmcnv2.utils.errors import ConfigError

# What NumPy says where MMEngine's BaseDataset packs a list of no images.
_NO_IMAGES = 'need at least one array to concatenate'


def check_loaders(runner: Runner | FlexibleRunner, splits: tuple[str, ...]) -> None:
    """Build the loops of a runner, which keeps them, and check that their data loaders yield batches.

    Args:
        runner: Not started yet.
        splits: Of 'train', 'val', 'test': the loops that will be used. A runner without one of them is fine.

    Raises:
        ConfigError: Names a loader without images, or with too few for one batch, or that trains batch norms of single
            positions with single images.
    """
    for split in splits:
        try:
            loop = getattr(runner, f'{split}_loop')
        except ValueError as error:
            if _NO_IMAGES not in str(error):
                raise
            raise _no_images(split) from error
        loader = getattr(loop, 'dataloader', None)
        if isinstance(loader, DataLoader):
            _check_loader(split, loader)
            if split == 'train':
                _check_batch_norms(runner.model, loader)


def _check_loader(split: str, loader: DataLoader) -> None:
    try:
        images = len(loader.dataset)  # type: ignore[arg-type]
    except TypeError:  # A stream has no length.
        return
    if not images:
        raise _no_images(split)
    batch_size, drop_last, is_infinite = _batches(loader)
    # An infinite sampler fills any batch. In validation, a process without images waits for the others.
    if is_infinite or len(loader) or not (drop_last or split == 'train'):
        return
    raise ConfigError(
        f'{split}_dataloader yields no batch: {images} images, batch_size {batch_size}, {get_world_size()} processes, '
        f'drop_last={bool(drop_last)}: lower batch_size, use fewer processes, or set drop_last=False'
    )


def _batches(loader: DataLoader) -> tuple[Any, bool, bool]:
    """Return the batch size, whether a last one that is smaller is left out, and whether there is no last one."""
    batches = loader.batch_sampler
    sampler = getattr(loader.sampler, 'sampler', loader.sampler)  # SeededSampler holds another one.
    batch_size = getattr(batches, 'batch_size', loader.batch_size)
    return batch_size, getattr(batches, 'drop_last', loader.drop_last), isinstance(sampler, InfiniteSampler)


def _check_batch_norms(model: nn.Module, loader: DataLoader) -> None:
    """Check that no batch of one image meets a batch norm of pooled maps with one position: it needs two values."""
    name = next(_norms_of_one_position(model), None)
    if name is None:
        return
    batch_size, drop_last, is_infinite = _batches(loader)
    images = math.ceil(len(loader.dataset) / get_world_size())  # type: ignore[arg-type]
    if batch_size == 1:
        mend = 'Set train_dataloader.batch_size to 2 or more'
    elif not is_infinite and not drop_last and images % batch_size == 1:
        mend = f'The last of {images} images in batches of {batch_size} is alone. Set train_dataloader.drop_last=True'
    else:
        return
    raise ConfigError(
        f'train_dataloader gives the model a batch of one image, and {name} is a batch norm of maps pooled to one '
        f"position, which needs two values a channel. {mend}, or take norm_cfg=dict(type='GN', num_groups=32)"
    )


def _norms_of_one_position(model: nn.Module | dict) -> Iterator[str]:
    if not isinstance(model, nn.Module):  # a strategy builds it when training starts
        return
    for name, module in model.named_modules():
        children = [*module.named_children()] if isinstance(module, nn.Sequential) else []
        is_pooled = False
        for key, child in children:
            is_pooled |= isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1))
            for inner, layer in child.named_modules():
                # Also of MMEngine's kind, which takes the place of SyncBN in one process.
                is_own = isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
                if is_pooled and is_own and layer.training:
                    yield '.'.join(part for part in (name, key, inner) if part)


def _no_images(split: str) -> ConfigError:
    return ConfigError(
        f'{split}_dataloader.dataset has no images: look at its paths, ann_file, img_suffix, filter_cfg and indices'
    )
