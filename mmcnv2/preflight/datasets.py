"""Find the datasets of a config."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine import registry


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


def bases(dataset: Mapping) -> set[str]:
    """Return the names of the class of a dataset and of its bases, looked for in the default scope."""
    kind = dataset.get('type')
    if isinstance(kind, str):
        with registry.DATASETS.switch_scope_and_registry(None) as own:
            kind = own.get(kind)
    return {base.__name__ for base in inspect.getmro(kind)} if inspect.isclass(kind) else set()
