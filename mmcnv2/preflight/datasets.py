"""Find the datasets and the metrics of a config."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import Registry

from mmcnv2.utils.errors import ConfigError


def find_datasets(setting: str, dataset: Any, with_wrappers: bool = False) -> Iterator[tuple[str, Mapping]]:
    """Yield the config of a dataset, or those inside wrappers such as RepeatDataset and ConcatDataset.

    Args:
        setting: Where the config of the dataset is.
        dataset: That config.
        with_wrappers: Whether to yield the wrappers themselves as well.

    Yields:
        Setting and config of each.
    """
    if not isinstance(dataset, Mapping) or not dataset:
        return
    inside = {'dataset': dataset['dataset']} if 'dataset' in dataset else {}
    inside |= {f'datasets.{i}': inner for i, inner in enumerate(dataset.get('datasets', []))}
    if with_wrappers or not inside:
        yield setting, dataset
    for key, inner in inside.items():
        yield from find_datasets(f'{setting}.{key}', inner, with_wrappers)


def datasets_of(cfg: Config, *splits: str) -> Iterator[tuple[str, Mapping]]:
    """Yield setting and config of the datasets of the data loaders of 'train', 'val' or 'test', see above."""
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        yield from find_datasets(f'{split}_dataloader.dataset', loader.get('dataset'))


def class_of(part: Registry, kind: Any) -> Any:
    """Return the class that a ``type`` names, in the scope that is the default now; None if there is none."""
    if not isinstance(kind, str):
        return kind
    with part.switch_scope_and_registry(None) as own:
        return own.get(kind)


def dataset_class(dataset: Mapping) -> Any:
    """Return the class of a dataset's config, see ``class_of``."""
    return class_of(registry.DATASETS, dataset.get('type'))


def known_transform(kind: Any) -> Any:
    """Return the class of a transform of mmcv, mmseg or this package; None if it is another's, or unknown."""
    cls = class_of(registry.TRANSFORMS, kind)
    return cls if cls is not None and cls.__module__.split('.')[0] in ('mmcv', 'mmseg', 'mmcnv2') else None


def build_dataset(setting: str, dataset: Mapping) -> Any:
    """Build a dataset without its pipeline, for what it says of its images.

    Raises:
        ConfigError: If it cannot be built; names the setting.
    """
    try:
        return registry.DATASETS.build(dict(dataset, pipeline=[], serialize_data=False))
    except Exception as error:
        raise ConfigError(f'{setting} cannot be built: {type(error).__name__}: {error}') from error


def base_names(cls: Any) -> set[str]:
    """Return the names of a class and its bases."""
    return {base.__name__ for base in inspect.getmro(cls)} if inspect.isclass(cls) else set()


def metrics_of(cfg: Config, split: str) -> Iterator[tuple[str, Mapping]]:
    """Yield setting and config of the metrics of 'train', 'val' or 'test', those of an Evaluator included."""
    setting, evaluator = f'{split}_evaluator', cfg.get(f'{split}_evaluator') or []
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        setting, evaluator = f'{setting}.metrics', evaluator['metrics'] or []
    if isinstance(evaluator, Mapping):
        yield setting, evaluator
        return
    for i, metric in enumerate(evaluator):
        if isinstance(metric, Mapping):
            yield f'{setting}.{i}', metric
