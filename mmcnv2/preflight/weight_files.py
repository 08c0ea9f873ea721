"""Check that the files with weights that a config names are there, before the model is built."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcnv2.utils.errors import ConfigError

_ENDINGS = ('.pth', '.pt', '.pkl', '.ckpt', '.bin', '.safetensors')


def check_weight_files(cfg: Config) -> None:
    """Check that the checkpoints exist that a training starts from: those of ``init_cfg``, teachers, ``load_from``.

    URLs and names that a loader knows, such as ``timm://...``, are left to the loader.

    Args:
        cfg: Config of a training.

    Raises:
        ConfigError: Names the setting and the file.
    """
    for setting, path in weight_files(cfg):
        check_weight_file(setting, path)


def weight_files(cfg: Config) -> Iterator[tuple[str, str]]:
    """Yield settings and the files, URLs or names of weights that they have: what a training starts from."""
    yield from _files('model', cfg.get('model'))
    if cfg.get('load_from'):
        yield '--resume' if cfg.get('resume') else 'load_from', cfg.load_from


def check_weight_file(setting: str, path: str | os.PathLike) -> None:
    """Check that a checkpoint exists, unless it is a URL or a name that a loader knows.

    Raises:
        ConfigError: Names the setting and the file.
    """
    if '://' not in str(path) and not Path(path).expanduser().exists():
        raise ConfigError(
            f'{setting}: checkpoint {path} does not exist: give the path of a file, a URL, or a name such as '
            'timm://NAME'
        )


def _files(setting: str, config: Any, in_init_cfg: bool = False) -> Iterator[tuple[str, str]]:
    """Yield settings and values that name files with weights."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            name = f'{setting}.{key}'
            if not isinstance(value, str):
                yield from _files(name, value, in_init_cfg or key == 'init_cfg')
            elif (
                (in_init_cfg and key == 'checkpoint')
                or key == 'teacher_ckpt'
                # 'pretrained' may also be the name of a set of weights.
                or (key == 'pretrained' and value.endswith(_ENDINGS))
            ):
                yield name, value
    elif isinstance(config, list | tuple):
        for i, value in enumerate(config):
            yield from _files(f'{setting}.{i}', value, in_init_cfg)
