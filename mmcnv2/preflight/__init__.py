"""Checks that name what is missing or wrong before anything is computed.

``check_config`` looks at the config and the data that it names, ``check_weights`` at the checkpoints, once there is a
model to compare them with.
"""

from mmengine.config import Config
from torch import nn

from .annotations import check_annotations
from .checkpoints import check_checkpoint, check_pretrained
from .paths import check_dataset_paths
from .pipelines import check_pipelines
from .schedules import check_schedules
from .settings import check_settings
from .sizes import check_sizes

__all__ = [
    'check_annotations',
    'check_checkpoint',
    'check_config',
    'check_dataset_paths',
    'check_pipelines',
    'check_pretrained',
    'check_schedules',
    'check_settings',
    'check_sizes',
    'check_weights',
]


def check_config(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check settings, schedules, pipelines, paths, annotations and sizes of images.

    Args:
        cfg: Config of a run.
        splits: Of 'train', 'val', 'test': the data loaders that will be used.

    Raises:
        InputError: Names the setting or the file, and says what is expected.
    """
    check_settings(cfg)
    check_schedules(cfg, splits)
    check_pipelines(cfg, splits)
    check_dataset_paths(cfg, splits)
    check_annotations(cfg, splits)
    check_sizes(cfg, splits)


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
