"""Find data loaders that would yield no batch, once they are built."""

from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.runner import FlexibleRunner, Runner
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
        ConfigError: Names a loader without images, or with too few for one batch.
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


def _check_loader(split: str, loader: DataLoader) -> None:
    try:
        images = len(loader.dataset)  # type: ignore[arg-type]
    except TypeError:  # A stream has no length.
        return
    if not images:
        raise _no_images(split)
    drop_last = getattr(loader.batch_sampler, 'drop_last', loader.drop_last)
    sampler = getattr(loader.sampler, 'sampler', loader.sampler)  # SeededSampler holds another one.
    # An infinite sampler fills any batch. In validation, a process without images waits for the others.
    if isinstance(sampler, InfiniteSampler) or len(loader) or not (drop_last or split == 'train'):
        return
    batch_size = getattr(loader.batch_sampler, 'batch_size', loader.batch_size)
    raise ConfigError(
        f'{split}_dataloader yields no batch: {images} images, batch_size {batch_size}, {get_world_size()} processes, '
        f'drop_last={bool(drop_last)}: lower batch_size, use fewer processes, or set drop_last=False'
    )


def _no_images(split: str) -> ConfigError:
    return ConfigError(
        f'{split}_dataloader.dataset has no images: look at its paths, ann_file, img_suffix, filter_cfg and indices'
    )
