"""Checks that name what is missing or wrong before anything is computed.

``check_config`` looks at the config and the data that it names, ``check_weights`` at the checkpoints, once there is a
model to compare them with, ``check_loaders`` at the data loaders of a runner.
"""

from mmengine.config import Config
from torch import nn

from .annotations import check_annotations
from .checkpoints import check_checkpoint, check_pretrained
from .classes import check_classes
from .label_maps import check_label_maps
from .loaders import check_loaders
from .paths import check_dataset_paths
from .settings import check_settings

__all__ = [
    'check_annotations',
    'check_checkpoint',
    'check_classes',
    'check_config',
    'check_dataset_paths',
    'check_label_maps',
    'check_loaders',
    'check_pretrained',
    'check_settings',
    'check_weights',
]


def check_config(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check settings, paths, classes, annotations and label maps.

    Args:
        cfg: Config of a run.
        splits: Of 'train', 'val', 'test': the data loaders that will be used.

    Raises:
        InputError: Names the setting or the file, and says what is expected.
    """
    check_settings(cfg)
    check_dataset_paths(cfg, splits)
    check_classes(cfg, splits)
    check_annotations(cfg, splits)
    check_label_maps(cfg, splits)


def check_weights(cfg: Config, model: nn.Module | dict) -> None:
    """Check the checkpoints that a training starts from: ``init_cfg`` and ``load_from``.

    Args:
        cfg: Config of a training.
        model: Its model, not initialised yet, or the config of the model.

    Raises:
        ConfigError: If a file is missing, unreadable, or does not fit.
    """
    check_pretrained(model)
    if cfg.get('load_from'):
        check_checkpoint(cfg.load_from, model, to_resume=bool(cfg.get('resume')))
