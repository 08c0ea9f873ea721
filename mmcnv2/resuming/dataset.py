"""A dataset around another one that seeds the random numbers of every sample."""

from typing import Any

from torch.utils.data import Dataset

from mmcnv2.registry import DATASETS

from .sampler import SeededIndex
from .seeding import seed_random_numbers
from .watching import SamplesInProgress, wait_for_folder


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Another dataset, seeded before each sample that a ``SeededSampler`` asks for; all else is that dataset's.

    It also notes which samples are being read, and waits if the folder of the data vanishes (``watching.py``).

    Args:
        dataset: Config of the other dataset.
        num_workers: Number of workers of the data loader.
    """

    def __init__(self, dataset: dict, num_workers: int) -> None:
        self.dataset = DATASETS.build(dataset)
        self._in_progress = SamplesInProgress(num_workers)

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset' or name.startswith('__'):  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the other dataset, as hooks do that switch its pipeline, unless it is of this one.

        Where that is a wrapper (``RepeatDataset``, ``ConcatDataset``...) without such an attribute, it is set in what
        it wraps.
        """
        if name in ('dataset', '_in_progress'):
            super().__setattr__(name, value)
            return
        for dataset in _with_attribute(self.dataset, name) or [self.dataset]:
            setattr(dataset, name, value)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        with self._in_progress.note(index):
            return wait_for_folder(getattr(self.dataset, 'data_root', ''), lambda: self._seeded_sample(index))

    def _seeded_sample(self, index: int) -> Any:
        if isinstance(index, SeededIndex):
            seed_random_numbers(*index.seed)
        return self.dataset[int(index)]

    def files_in_progress(self) -> list[str]:
        """Return the files of the samples that workers are reading, or were reading when they died."""
        infos = [self.dataset.get_data_info(index) for index in self._in_progress.indices()]
        return [info['img_path'] for info in infos if 'img_path' in info]


def _with_attribute(dataset: Any, name: str) -> list[Any]:
    if hasattr(dataset, name):
        return [dataset]
    wrapped = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    return [one for inner in wrapped if inner is not None for one in _with_attribute(inner, name)]
