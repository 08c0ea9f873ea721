"""Check that folders and annotation files exist."""

from pathlib import Path

from mmengine.config import Config

from mmcnv2.datasets.shards import expand_shards
from mmcnv2.utils.errors import ConfigError

from .datasets import datasets_of


def check_dataset_paths(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check that folders and annotation files of the dataloaders exist.

    Args:
        cfg: Config of a run.
        splits: Of 'train', 'val', 'test': the dataloaders that will be used.

    Raises:
        ConfigError: Names the setting, the path and the option that points elsewhere.
    """
    for split in splits:
        for setting, dataset in datasets_of(cfg, split):
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
                        f'{setting}.{key}: {path} does not exist. Put the data there (docs/how_to/data.md shows '
                        'the layout; mmcnv2 make-toy-scenes makes the toy scenes) '
                        f'or name another folder: --cfg-options {setting}.data_root=PATH'
                    )
        evaluator = cfg.get(f'{split}_evaluator') or {}
        for metric in [evaluator] if isinstance(evaluator, dict) else evaluator:
            if (file := metric.get('ann_file')) and not Path(file).exists():
                raise ConfigError(
                    f'{split}_evaluator.ann_file: {file} does not exist. Name the annotation file of '
                    f'{split}_dataloader: --cfg-options {split}_evaluator.ann_file=FILE'
                )
