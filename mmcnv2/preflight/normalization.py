"""Compare how a training normalises its images with how those were that its weights were trained on."""

import contextlib
import logging

from mmengine.config import Config
from mmengine.logging import print_log

from mmcnv2.models.normalization import normalization_in
from mmcnv2.models.weights.reading import read_normalization
from mmcnv2.utils.errors import InputError

from .weight_files import weight_files


def check_normalization(cfg: Config, allow_pickle: bool = False) -> None:
    """Warn of weights that were trained on images with another mean and std, as far as their checkpoint says it.

    Weights see other values then: all layers have to learn the change first. A checkpoint of another number of bands
    is left alone.

    Args:
        cfg: Config of a training.
        allow_pickle: Read checkpoints that could run code, see ``read_state_dict``.
    """
    own = normalization_in(cfg)
    if own is None:
        return
    for setting, path in weight_files(cfg):
        given = None
        with contextlib.suppress(InputError, ImportError):  # of what cannot be read other checks speak
            given = read_normalization(path, allow_pickle)
        if given is None or given == own or len(given.mean) != len(own.mean):
            continue
        print_log(
            f'{setting}: {path} was trained on images normalised with {given}, this training has {own}. Take the '
            f"checkpoint's, unless it should learn others: data_preprocessor=dict(mean={[*given.mean]}, "
            f'std={[*given.std]})',
            'current',
            logging.WARNING,
        )
