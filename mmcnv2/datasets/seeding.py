"""A sampler and a dataset around others, which seed the augmentation of every sample by its place in the training."""

import logging
import os
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from torch.utils.data import Dataset, Sampler, get_worker_info

from mmcnv2.registry import DATA_SAMPLERS, DATASETS
from mmcnv2.utils.seeding import seed_random_numbers

#: How long to wait for the folder of the data to come back, in seconds, and between two looks.
PATIENCE, PAUSE = 600, 5


class SeededIndex(int):
    """An index of a dataset that carries the seed of the sample."""

    seed: tuple[int, ...]

    def __new__(cls, index: int, seed: tuple[int, ...]) -> 'SeededIndex':
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __getnewargs__(self) -> tuple[int, tuple[int, ...]]:
        return int(self), self.seed  # on the way to a worker


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler):
    """The indices of another sampler, each with a seed: that of the run, the epoch, and the place in the epoch.

    The place counts the samples of all processes, which samplers of MMEngine deal out in turn. So the same samples
    with the same augmentation make up a batch, whether one process reads all of it or several read parts.

    Args:
        dataset: What the indices belong to.
        sampler: Config of the other sampler.
        seed: Of the run; None: the one that the other sampler agrees on with other processes.
    """

    def __init__(self, dataset: Dataset, sampler: dict, seed: int | None) -> None:
        self.dataset = dataset
        self.sampler = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        self.rank, self.world_size = get_dist_info()
        self.epoch = 0
        self.seed = self.sampler.seed
        self._start = 0

    @property
    def seed(self) -> int:
        """Seed of the run. MMEngine's samplers read theirs when they are iterated, so both may be set until then."""
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = self.sampler.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """What comes next is this epoch."""
        self.epoch = epoch
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)

    def skip(self, num_samples: int) -> None:
        """Leaves out that many samples of this process, once, the next time that it is iterated."""
        self._start = num_samples

    def __iter__(self) -> Iterator[SeededIndex]:
        start, self._start = self._start, 0
        for place, index in enumerate(islice(self.sampler, start, None), start):
            yield SeededIndex(index, (self.seed, self.epoch, place * self.world_size + self.rank))

    def __len__(self) -> int:
        return len(self.sampler)


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Another dataset, seeded before each sample that a ``SeededSampler`` asks for; all else is that dataset's.

    If its folder (``data_root``) vanishes while it is read, as a network disk may, it waits ten minutes for it.

    Args:
        dataset: Config of the other dataset.
        num_workers: Of the data loader.
    """

    def __init__(self, dataset: dict, num_workers: int) -> None:
        self.dataset = DATASETS.build(dataset)
        # Which sample each worker reads, -1 for none; shared, so that it outlives a worker.
        self._reading = torch.full((max(num_workers, 1),), -1).share_memory_()

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset' or name.startswith('__'):  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        worker = get_worker_info()
        slot = worker.id if worker else 0
        self._reading[slot] = int(index)
        sample = self._read(index)
        self._reading[slot] = -1
        return sample

    def being_read(self) -> list[str]:
        """The files of the samples which workers are reading, or were when they died."""
        infos = [self.dataset.get_data_info(index) for index in self._reading.tolist() if index >= 0]
        return [info['img_path'] for info in infos if 'img_path' in info]

    def _read(self, index: int) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            if isinstance(index, SeededIndex):
                seed_random_numbers(*index.seed)
            try:
                return self.dataset[int(index)]
            except OSError as error:
                root = getattr(self.dataset, 'data_root', '')
                if not root or os.path.isdir(root) or time.monotonic() > deadline:
                    raise
                print_log(
                    f'Folder {root} is gone: {error}. Trying again every {PAUSE} seconds for {PATIENCE} seconds.',
                    logger='current',
                    level=logging.WARNING,
                )
                time.sleep(PAUSE)
