"""Look at a few image files as the training will read them: their kind, and whether their bands fit the model."""

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from mmengine import registry
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmcnv2.datasets import LoadCheckedImage, UnreadableImageError, UnsupportedImageError
from mmcnv2.datasets.images import said_once
from mmcnv2.datasets.unlabelled_images import EXTENSIONS, image_files
from mmcnv2.utils.errors import ConfigError

from .datasets import datasets_of
from .pipelines import transforms_of

NUM_FILES = 8  # of each data set
# Loading transforms that say what is wrong with a file. The last is mmcv's, with ours in its place.
_READERS = ('LoadImage', 'LoadRGBImage', 'LoadRandomResizedCrop', 'LoadImageFromFile')


def check_images(cfg: Config, splits: tuple[str, ...]) -> None:
    """Read up to ``NUM_FILES`` files of the folder of each data set by the transform of the config.

    One that cannot be read is left to the training, which skips it or names it. Whatever RGB loses is warned of, once
    a run, here or when it is met. Only the first process of a machine does so.

    Args:
        cfg: Config of a run, whose paths exist.
        splits: Of 'train', 'val', 'test': the data loaders that will be used.

    Raises:
        ConfigError: All of them need another setting, or have another number of bands than the model takes.
    """
    said_once.forget()
    if os.environ.get('LOCAL_RANK', '0') != '0':
        return
    random_state = np.random.get_state()
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for setting, dataset in datasets_of(cfg, *splits):
            steps = list(transforms_of(f'{setting}.pipeline', dataset.get('pipeline') or []))
            if steps and steps[0][1] in _READERS:
                _check(cfg, *steps[0], [*islice(_files(dataset), NUM_FILES)])
    np.random.set_state(random_state)


def _check(cfg: Config, setting: str, name: str, step: Mapping, paths: list[str]) -> None:
    load = registry.TRANSFORMS.build(dict(step))
    if name == 'LoadImageFromFile' and not isinstance(load, LoadCheckedImage):
        return  # mmcv's own, of another program than the tools
    bands: dict[int, str] = {}
    unsupported: list[UnsupportedImageError] = []
    for path in paths:
        try:
            loaded = load(dict(img_path=path))
        except UnsupportedImageError as error:
            unsupported.append(error)
        except UnreadableImageError:
            continue
        else:
            if loaded is not None:  # mmcv's may leave out what it cannot read
                bands[loaded['img'].shape[2] if loaded['img'].ndim == 3 else 1] = path
    if unsupported and len(unsupported) == len(paths):
        raise ConfigError(f'{setting} cannot read any of {len(paths)} files, for instance {unsupported[0]}')
    if len(bands) != 1 or name == 'LoadImageFromFile':
        return  # of several kinds, or left as it always was
    (count,), (path,) = bands, bands.values()
    model = cfg.get('model') or {}
    where, model = ('model.module', model['module']) if 'module' in model else ('model', model)
    backbone, preprocessor = model.get('backbone') or {}, model.get('data_preprocessor') or {}
    expected = {f'{where}.data_preprocessor.mean': len(preprocessor.get('mean') or ()) or 1}
    if str(backbone.get('type')).rpartition('.')[2] in ('ConvNeXt', 'ConvNeXtV2'):
        expected |= {f'{where}.backbone.in_channels': backbone.get('in_channels', 3)}
    for key, number in expected.items():
        if number != count and not (key.endswith('mean') and number == 1):
            raise ConfigError(
                f'{key} is for {number} band{"s" * (number > 1)}, {setting} ({name}) gives {count}, for instance of '
                f'{path}: correct one of them (docs/how_to/bands.md)'
            )


def _files(dataset: Mapping) -> Iterator[str]:
    """Yield image files of the folder of a data set, in any order."""
    prefix: Any = dataset.get('data_prefix') or ''
    if isinstance(prefix, Mapping):
        prefix = prefix.get('img') or prefix.get('img_path') or ''
    if not prefix and not str(dataset.get('type')).endswith('UnlabelledImages'):
        return  # the folder may have label maps, too
    folder = os.path.join(dataset.get('data_root') or '', prefix)
    endings = dataset.get('extensions') or (*EXTENSIONS, '.npy', '.npz')
    if dataset.get('img_suffix'):
        endings = [dataset['img_suffix']]
    if folder and os.path.isdir(folder) and 'shards' not in dataset:
        yield from image_files(folder, tuple(ending.lower() for ending in endings))
