from .config import ConfigError, add_config_arguments, build_runner, load_config
from .preflight import check_checkpoint, check_dataset_paths
from .resuming import newest_whole_checkpoint

__all__ = [
    'ConfigError',
    'add_config_arguments',
    'build_runner',
    'check_checkpoint',
    'check_dataset_paths',
    'load_config',
    'newest_whole_checkpoint',
]
