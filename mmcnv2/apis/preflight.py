"""Checks that name what is missing before anything is built or computed."""

from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import nn

from mmcnv2.datasets.shards import expand_shards

from .config import ConfigError


def check_dataset_paths(cfg: Config, splits: tuple[str, ...]) -> None:
    """Checks that folders and annotation files of the dataloaders exist.

    Args:
        cfg: Config of a run.
        splits: Of 'train', 'val', 'test': the dataloaders that will be used.

    Raises:
        ConfigError: Names the setting, the path and the option that points elsewhere.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        for setting, dataset in _datasets(f'{split}_dataloader.dataset', loader.get('dataset') or {}):
            root = Path(dataset.get('data_root') or '')
            paths = {'data_root': root}
            if dataset.get('ann_file'):
                paths['ann_file'] = root / dataset['ann_file']
            prefix = dataset.get('data_prefix') or {}
            for key, folder in prefix.items() if isinstance(prefix, dict) else [('', prefix)]:
                paths[f'data_prefix.{key}'] = root / (folder or '')
            if dataset.get('shards'):
                try:
                    shards = expand_shards(dataset['shards'], str(root))
                except (ImportError, ValueError) as error:
                    raise ConfigError(f'{setting}.shards: {error}') from error
                paths['shards'] = next((Path(shard) for shard in shards if not Path(shard).exists()), root)
            for key, path in paths.items():
                if not path.exists():
                    raise ConfigError(
                        f'{setting}.{key}: {path} does not exist. Put the data there (docs/data.md shows the layout; '
                        'python tools/dataset_tools/make_toy_scenes.py makes the toy scenes) '
                        f'or name another folder: --cfg-options {setting}.data_root=PATH'
                    )


def check_checkpoint(path: str, model: nn.Module | dict) -> None:
    """Checks that a checkpoint of a whole model fits ``model``.

    Args:
        path: The checkpoint.
        model: The model, or its config (which MMEngine's ``FlexibleRunner`` has until it trains).

    Raises:
        ConfigError: If the file is missing or unreadable, or lacks a parameter, or one has another shape.
    """
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    except Exception as error:
        raise ConfigError(f'checkpoint {path} cannot be read: {type(error).__name__}: {error}') from error
    if isinstance(model, dict):
        with torch.device('meta'):
            model = MODELS.build(model)
    given = checkpoint.get('state_dict', checkpoint)
    own = model.state_dict()
    problems = [f'{key}: missing in the checkpoint' for key in own if key not in given]
    problems += [
        f'{key}: {tuple(given[key].shape)} in the checkpoint, {tuple(own[key].shape)} in the model'
        for key in own
        if key in given and given[key].numel() != own[key].numel()
    ]
    if problems:
        listed = '\n  '.join(problems[:8])
        raise ConfigError(
            f'checkpoint {path} does not fit the model of the config; '
            f'{len(problems)} of {len(own)} tensors disagree:\n  {listed}'
        )


def _datasets(setting: str, dataset: dict) -> Iterator[tuple[str, dict]]:
    """A dataset's config, and those inside wrappers such as RepeatDataset and ConcatDataset, with their settings."""
    if 'dataset' in dataset:
        yield from _datasets(f'{setting}.dataset', dataset['dataset'])
    elif 'datasets' in dataset:
        for i, inner in enumerate(dataset['datasets']):
            yield from _datasets(f'{setting}.datasets.{i}', inner)
    elif dataset:
        yield setting, dataset
