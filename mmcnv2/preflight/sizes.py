"""Check that images reach ConvNeXtV2 with a height and width divisible by 32: it refuses others.

What a pipeline and a data preprocessor make of an image is followed where it is known, from the sizes of the first
images of the data set if it depends on them. What is not known is left to the backbone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import mmcv
from mmengine import registry
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from mmcnv2.utils.errors import ConfigError

from .datasets import base_names, build_dataset, class_of, datasets_of
from .pipelines import transforms_of

_DIVISOR = 32
_NUM_IMAGES = 16
# Transforms that do not change the size of an image.
_KEEP_SIZE = {
    *(
        'LoadImageFromFile',
        'LoadImage',
        'LoadRGBImage',
        'LoadAnnotations',
        'LoadLabelMap',
        'LoadPanopticAnnotations',
        'RandomFlip',
    ),
    *('PhotoMetricDistortion', 'FilterAnnotations', 'Normalize', 'ColorJitter', 'RandomErasing', 'RandAugment'),
    *('YOLOXHSVRandomAug', 'PackDetInputs', 'PackSegInputs', 'PackInputs', 'PackUnlabelled', 'GenerateEdge'),
}
_CROPS = dict(RandomCrop='crop_size', CenterCrop='crop_size', RandomResizedCrop='scale', LoadRandomResizedCrop='size')

Size = tuple[int, int]


def check_sizes(cfg: Config, splits: Sequence[str]) -> None:
    """Check sizes of crops, of padding and of windows for a model with ConvNeXtV2; others are left alone.

    A slide test of mmseg without ``stride`` or ``crop_size`` is refused with any backbone.

    Args:
        cfg: Config of a run, whose data exist.
        splits: Of 'train', 'val', 'test': the dataloaders that will be used.

    Raises:
        ConfigError: Names the setting, the size and what to set.
    """
    where, model = 'model', cfg.get('model') or {}
    if 'module' in model:  # test-time augmentation
        where, model = 'model.module', model['module']
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        ours = _has_our_backbone(model)
        window = None
        if 'decode_head' in model and {'val', 'test'} & {*splits}:
            window = _check_window(f'{where}.test_cfg', model.get('test_cfg') or {}, ours)
        if not ours:
            return
        if model.get('data_preprocessor') or not cfg.get('data_preprocessor'):
            setting, preprocessor = f'{where}.data_preprocessor', model.get('data_preprocessor') or {}
        else:
            setting, preprocessor = 'data_preprocessor', cfg.data_preprocessor
        _check_batch_augments(f'{setting}.batch_augments', preprocessor.get('batch_augments'))
        segments = 'decode_head' in model
        for split in splits:
            mend, padded = _padding(setting, preprocessor, segments, split)
            if isinstance(padded, int) and padded % _DIVISOR == 0:
                continue
            for name, dataset in datasets_of(cfg, split):
                _check_images(name, dataset, padded, window, mend, split == 'train')


def _has_our_backbone(model: Mapping) -> bool:
    cls = class_of(registry.MODELS, (model.get('backbone') or {}).get('type'))
    return 'ConvNeXtBase' in base_names(cls) and cls.__module__.startswith('mmcnv2.')


# ---- settings of the model ----


def _check_window(setting: str, test_cfg: Mapping, ours: bool) -> Size | None:
    """Check a slide test; return its window."""
    if test_cfg.get('mode') != 'slide':
        return None
    for key in ('crop_size', 'stride'):
        if key not in test_cfg:
            raise ConfigError(f"{setting} has mode='slide' and no {key!r}: set it to (height, width)")
    window = _pair(test_cfg['crop_size'])
    if ours and not _fits(window):
        raise ConfigError(f'{setting}.crop_size: {_nearest(window)}')
    return window


def _check_batch_augments(setting: str, augments: Any) -> None:
    for i, augment in enumerate(augments or []):
        name = str(augment.get('type')).rpartition('.')[2]
        if name == 'BatchFixedSizePad' and not _fits(_pair(augment['size'])):
            raise ConfigError(f'{setting}.{i}.size: {_nearest(_pair(augment["size"]))}')
        if name == 'BatchSyncRandomResize' and augment.get('size_divisor', _DIVISOR) % _DIVISOR:
            raise ConfigError(
                f'{setting}.{i}.size_divisor: ConvNeXtV2 takes sizes divisible by {_DIVISOR}, got '
                f'{augment["size_divisor"]}: set {_DIVISOR}'
            )


def _padding(setting: str, preprocessor: Mapping, segments: bool, split: str) -> tuple[str, Size | int]:
    """Return what to set, and what images are padded to: a size or multiples of a number."""
    if not segments:
        return f'{setting}.pad_size_divisor={_DIVISOR}', preprocessor.get('pad_size_divisor', 1)
    if split != 'train':
        setting, preprocessor = f'{setting}.test_cfg', preprocessor.get('test_cfg') or {}
        mend = f'{setting}=dict(size_divisor={_DIVISOR}), since mmseg pads in training only'
    else:
        mend = f'{setting}.size_divisor={_DIVISOR}'
    size = preprocessor.get('size')
    if size is None:
        return mend, preprocessor.get('size_divisor') or 1
    if not _fits(_pair(size)):
        raise ConfigError(f'{setting}.size: {_nearest(_pair(size))}')
    return mend, _pair(size)


# ---- images ----


def _check_images(
    setting: str, dataset: Mapping, padded: Size | int, window: Size | None, mend: str, for_training: bool
) -> None:
    """Follow images through a pipeline and the preprocessor's padding; refuse what does not fit."""
    sizes: Iterator[tuple[str, Size | None]] = iter([('', None)])
    steps = list(transforms_of(f'{setting}.pipeline', dataset.get('pipeline') or []))
    if any(name == 'TestTimeAug' for _, name, _ in steps):
        return  # many pipelines in one
    if not for_training and _size_after(steps, None)[1] is None:
        sizes = islice(_image_sizes(dataset), _NUM_IMAGES)
    for path, size in sizes:
        last, size = _size_after(steps, size)
        if size is None:
            continue
        if isinstance(padded, int):
            size = (_round_up(size[0], padded), _round_up(size[1], padded))
        else:
            size = (max(size[0], padded[0]), max(size[1], padded[1]))
        if window:
            size = (min(size[0], window[0]), min(size[1], window[1]))
        if not _fits(size):
            image = f'{path} arrives as' if path else f'{last or setting}:'
            where = f'{setting}: {image}' if path else image
            raise ConfigError(f'{where} {_nearest(size)}, or {mend}')


def _image_sizes(dataset: Mapping) -> Iterator[tuple[str, Size]]:
    """Yield path, height and width of images, from the headers of the files."""
    try:
        built = build_dataset('', dataset)
        for i in range(len(built)):
            path = built.get_data_info(i)['img_path']
            with Image.open(path) as image:
                yield path, (image.height, image.width)
    except Exception:
        return  # what is wrong with data sets and files is found by other checks


def _size_after(steps: Sequence[tuple[str, str, Mapping]], size: Size | None) -> tuple[str, Size | None]:
    """Follow the size of an image, (height, width) or None if it is not known.

    Returns:
        The setting of the transform that changed it last, and the size; None if it is not known.
    """
    last = ''
    for setting, name, step in steps:
        if name in _KEEP_SIZE:
            continue
        last = setting
        if name == 'Resize':
            size = _resized(step, size)
        elif name == 'Pad' and step.get('size') is not None:
            size = _pair(step['size'])[::-1]
        elif name == 'Pad' and step.get('size_divisor') and size:
            size = (_round_up(size[0], step['size_divisor']), _round_up(size[1], step['size_divisor']))
        elif name in _CROPS and step.get('crop_type', 'absolute') == 'absolute' and _CROPS[name] in step:
            crop = _pair(step[_CROPS[name]])
            crops_only = name in ('RandomCrop', 'CenterCrop')
            size = (min(size[0], crop[0]), min(size[1], crop[1])) if size and crops_only else crop
        else:
            size = None
    return last, size


def _resized(step: Mapping, size: Size | None) -> Size | None:
    scale = step.get('scale')
    if scale is not None and not step.get('keep_ratio', False):
        return _pair(scale)[::-1]
    if size is None:
        return None
    factor = _pair(scale) if scale is not None else step.get('scale_factor')
    if factor is None:
        return None
    if scale is None and isinstance(factor, Sequence):
        return round(size[0] * factor[1]), round(size[1] * factor[0])
    width, height = mmcv.rescale_size(size[::-1], factor)
    return height, width


def _pair(size: int | Sequence[int]) -> Size:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _round_up(length: int, divisor: int) -> int:
    return math.ceil(length / divisor) * divisor


def _fits(size: Size) -> bool:
    return not any(length % _DIVISOR for length in size)


def _nearest(size: Size) -> str:
    """Return the middle of a sentence that names a size that does not fit, and one that does."""
    fitting = tuple(_round_up(length, _DIVISOR) for length in size)
    return (
        f'{size[0]}x{size[1]} (height x width), and ConvNeXtV2 takes sizes divisible by {_DIVISOR}: make it '
        f'{fitting[0]}x{fitting[1]}'
    )
