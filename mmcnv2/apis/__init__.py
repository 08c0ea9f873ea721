from mmcnv2.utils.errors import ConfigError, InputError

from .config import add_config_arguments, build_runner, errors_in_one_line, load_config
from .loaders import use_careful_loaders
from .preflight import (
    check_annotations,
    check_checkpoint,
    check_dataset_paths,
    check_pretrained,
    check_settings,
)
from .resuming import newest_whole_checkpoint

__all__ = [
    'ConfigError',
    'InputError',
    'add_config_arguments',
    'build_runner',
    'check_annotations',
    'check_checkpoint',
    'check_dataset_paths',
    'check_pretrained',
    'check_settings',
    'errors_in_one_line',
    'load_config',
    'newest_whole_checkpoint',
    'use_careful_loaders',
]
