"""The datasets inside wrappers such as MMEngine's RepeatDataset and ConcatDataset."""

from typing import Any


def without_wrappers(dataset: Any) -> list[Any]:
    """Return the datasets inside wrappers, or the dataset itself if it is none."""
    inside = [*getattr(dataset, 'datasets', ()), *([dataset.dataset] if hasattr(dataset, 'dataset') else ())]
    return [inner for one in inside for inner in without_wrappers(one)] if inside else [dataset]
