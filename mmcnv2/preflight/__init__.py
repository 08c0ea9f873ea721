"""Checks that name what is missing or wrong before anything is computed.

``check_config`` looks at the config and the data that it names, ``check_weights`` at the checkpoints, once there is a
model to compare them with, ``check_loaders`` at the data loaders of a runner.
"""

from mmengine.config import Config
from torch import nn

from .annotations import check_annotations
from .averages import check_averages
from .checkpoints import check_checkpoint, check_load_from
from .classes import check_classes
from .images import check_images
from .label_maps import check_label_maps
from .loaders import check_loaders
from .normalization import check_normalization
from .paths import check_dataset_paths
from .pipelines import check_pipelines
from .predictions import check_output, output_kind
from .pretrained import check_pretrained
from .schedules import check_schedules
from .settings import check_settings
from .sizes import check_sizes
from .vis_backends import check_vis_backends
from .weight_files import check_weight_file, check_weight_files

__all__ = [
    'check_annotations',
    'check_averages',
    'check_checkpoint',
    'check_classes',
    'check_config',
    'check_data',
    'check_dataset_paths',
    'check_images',
    'check_label_maps',
    'check_load_from',
    'check_loaders',
    'check_normalization',
    'check_output',
    'check_pipelines',
    'check_pretrained',
    'check_schedules',
    'check_settings',
    'check_sizes',
    'check_vis_backends',
    'check_weight_file',
    'check_weight_files',
    'check_weights',
    'output_kind',
]


def check_config(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check settings, backends, weight files, schedules, pipelines, paths, classes, annotations, images and sizes.

    Args:
        cfg: Config of a run.
        splits: Of 'train', 'val', 'test': the data loaders that will be used.

    Raises:
        InputError: Names the setting or the file, and says what is expected.
    """
    check_settings(cfg)
    check_vis_backends(cfg)
    if 'train' in splits:
        check_weight_files(cfg)
    check_schedules(cfg, splits)
    check_data(cfg, splits)
    check_sizes(cfg, splits)


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check what of ``check_config`` is about data: pipelines, paths, classes, annotations, label maps, images."""
    check_pipelines(cfg, splits)
    check_dataset_paths(cfg, splits)
    check_classes(cfg, splits)
    check_annotations(cfg, splits)
    check_label_maps(cfg, splits)
    check_images(cfg, splits)


def check_weights(cfg: Config, model: nn.Module | dict, allow_pickle: bool = False) -> set[str] | None:
    """Check the checkpoints that a training starts from: ``init_cfg`` and ``load_from``.

    It warns of those that were trained on images with another mean and std.

    Args:
        cfg: Config of a training.
        model: Its model, not initialised yet, or the config of the model.
        allow_pickle: As ``install_safe_loaders`` was given it.

    Returns:
        The keys to be loaded from ``load_from``; None if they are all that model and file have.

    Raises:
        ConfigError: If a file is missing, unreadable, or does not fit.
    """
    check_pretrained(model)
    check_normalization(cfg, allow_pickle)
    if not cfg.get('load_from'):
        return None
    if cfg.get('resume'):
        check_checkpoint(cfg.load_from, model, to_resume=True)
        return None
    return check_load_from(cfg.load_from, model)
