"""From a file or an array to what a model takes: the test pipeline of its config, with another beginning."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform, Compose
from mmengine import registry
from mmengine.config import Config

from mmcnv2.datasets import LoadCheckedImage, LoadImage, LoadRandomResizedCrop, UnreadableImageError
from mmcnv2.preflight.datasets import class_of, datasets_of
from mmcnv2.utils.errors import ConfigError, InputError
from mmcnv2.visualization import composite


class Preparation:
    """Reads images as the config does, and prepares them by the rest of its test pipeline, without labels.

    Args:
        cfg: Config of a detector, segmenter or classifier, whose ``default_scope`` is that of the process now.

    Raises:
        ConfigError: It has no pipeline for evaluation, or one that does not begin by reading an image file.
    """

    def __init__(self, cfg: Config) -> None:
        setting, steps = evaluation_pipeline(cfg)
        self.reader = _reader(f'{setting}.0', steps)
        rest = [_built(f'{setting}.{i}', step) for i, step in enumerate(steps) if i and not loads_labels(step)]
        self.rest = Compose(rest)

    def read(self, path: str) -> np.ndarray:
        """Read a file as in training: its upright pixels (H, W, C) in the order of bands that the model takes.

        Raises:
            UnreadableImageError: The file is missing, damaged, or needs another setting.
        """
        loaded = self.reader.transform(dict(img_path=path))
        if loaded is None:  # mmcv's may be told to leave out empty files
            raise UnreadableImageError(path, 'nothing can be read of it')
        return loaded['img']

    def from_array(self, array: np.ndarray) -> np.ndarray:
        """Return an array of the user's as :meth:`read` returns a file.

        Args:
            array: (H, W, 3) uint8, RGB; of a model with other bands (H, W, C) as ``LoadImage`` gives them.

        Raises:
            InputError: It has another shape or type.
        """
        array = checked_array(array, self.reader)
        if isinstance(self.reader, LoadImage):
            return array
        if self.reader.color_type.startswith('gray'):
            return cv2.cvtColor(array, cv2.COLOR_RGB2GRAY)
        pixels = array[..., ::-1]
        return np.ascontiguousarray(pixels.astype(np.float32) if self.reader.to_float32 else pixels)

    def gives_bgr(self, bands: int) -> bool:
        """Return whether images of so many bands are BGR, as mmcv reads them."""
        return bands == 3 and not isinstance(self.reader, LoadImage) and self.reader.imdecode_backend != 'tifffile'

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """Return what :meth:`read` or :meth:`from_array` gave as (H, W, 3) uint8, RGB."""
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if self.gives_bgr(pixels.shape[2]):
            pixels = pixels[..., ::-1]
        if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
            return np.ascontiguousarray(pixels)
        return composite(pixels)

    def __call__(self, pixels: np.ndarray, path: str | None) -> dict[str, Any]:
        """Return the packed input of a model: ``inputs`` (C, h, w) and ``data_samples``."""
        shape = pixels.shape[:2]
        return self.rest(dict(img=pixels, img_path=path or '', img_id=0, img_shape=shape, ori_shape=shape))


def checked_array(array: np.ndarray, reader: Any) -> np.ndarray:
    """Return an array of the user's if it can stand for what a reader reads: RGB of 8 bits, unless it reads bands.

    Raises:
        InputError: It has another shape or type.
    """
    if array.ndim != 3 or 0 in array.shape:
        raise InputError(f'an array must be (height, width, bands), got shape {array.shape}')
    reads_bands = isinstance(reader, LoadImage) and reader.reader.bands != 'rgb'
    if not reads_bands and (array.shape[2] != 3 or array.dtype != np.uint8):
        raise InputError(f'an array must be (height, width, 3) uint8 RGB, got {array.shape} {array.dtype}')
    return np.ascontiguousarray(array)  # torch takes no view with steps backwards


def training_reader(cfg: Config) -> tuple[LoadImage, float]:
    """Return how a pre-training reads images, and what it makes of the shorter side of one, in pixels.

    A crop of the share s of an image, with the side c, shows objects as large as they are in the whole image with a
    side of c / sqrt(s); s is the middle of the crops' range.

    Raises:
        ConfigError: Its pipeline has no ``LoadRandomResizedCrop``.
    """
    for _, dataset in datasets_of(cfg, 'train'):
        for step in dataset.get('pipeline') or ():
            if str(step.get('type')).rpartition('.')[2] == 'LoadRandomResizedCrop':
                crop = LoadRandomResizedCrop(**{key: value for key, value in step.items() if key != 'type'})
                reader = LoadImage(crop.reader.bands, crop.reader.value_range)
                return reader, min(crop.size) / math.sqrt(sum(crop.scale) / 2)
    raise ConfigError('train_dataloader.dataset.pipeline has no LoadRandomResizedCrop, which says how images are read')


def evaluation_pipeline(cfg: Config) -> tuple[str, Sequence[Mapping]]:
    """Return the setting and the transforms of the pipeline of test, or of validation.

    Raises:
        ConfigError: There is none.
    """
    for setting, dataset in datasets_of(cfg, 'test', 'val'):
        if dataset.get('pipeline'):
            return f'{setting}.pipeline', dataset['pipeline']
    raise ConfigError(
        'the config has no test_dataloader.dataset.pipeline, which says how an image is prepared for the model'
    )


def _reader(setting: str, steps: Sequence[Mapping]) -> Any:
    """Build the transform that reads an image; in place of mmcv's, the one that checks."""
    first = dict(steps[0])
    cls = class_of(registry.TRANSFORMS, first.pop('type'))
    names = {base.__name__ for base in getattr(cls, '__mro__', ())}
    if 'LoadImage' in names:
        return cls(**first)
    if 'LoadImageFromFile' in names:
        return LoadCheckedImage(**first)
    raise ConfigError(f'{setting} must read an image file (LoadImageFromFile, mmcnv2.LoadImage), got {steps[0]}')


def loads_labels(step: Mapping) -> bool:
    """Return whether a transform after the first reads what an image without labels does not have."""
    name = step.get('type')
    return (name if isinstance(name, str) else getattr(name, '__name__', '')).rpartition('.')[2].startswith('Load')


def _built(setting: str, step: Mapping) -> BaseTransform:
    try:
        return registry.TRANSFORMS.build(dict(step))
    except Exception as error:
        raise ConfigError(f'{setting} cannot be built: {type(error).__name__}: {error}') from error
