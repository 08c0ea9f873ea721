"""A sampler around another one that gives every sample a seed: its position in the training."""

from collections.abc import Iterator
from itertools import islice

from mmengine.dist import get_dist_info
from torch.utils.data import Dataset, Sampler

from mmcnv2.registry import DATA_SAMPLERS


class SeededIndex(int):
    """An index of a dataset that carries the seed of the sample."""

    seed: tuple[int, ...]

    def __new__(cls, index: int, seed: tuple[int, ...]) -> 'SeededIndex':
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __reduce__(self) -> tuple:  # for pickle, on the way to a worker
        return type(self), (int(self), self.seed)


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler):
    """The indices of another sampler, each with a seed: that of the run, the epoch, and the position in the epoch.

    The position counts the samples of all processes, which MMEngine's samplers deal out in turn. A batch thus has the
    same samples with the same augmentation, whether one process reads all of it or several read parts.

    Args:
        dataset: Dataset of the indices.
        sampler: Config of the other sampler.
        seed: Seed of the run; None: the one on which the other sampler agrees across processes.
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
        """Set the epoch whose indices come next."""
        self.epoch = epoch
        if hasattr(self.sampler, 'set_epoch'):
            self.sampler.set_epoch(epoch)

    def skip(self, num_samples: int) -> None:
        """Skip that many samples of this process, only the next time that it is iterated."""
        self._start = num_samples

    def __iter__(self) -> Iterator[SeededIndex]:
        start, self._start = self._start, 0
        for position, index in enumerate(islice(self.sampler, start, None), start):
            yield SeededIndex(index, (self.seed, self.epoch, position * self.world_size + self.rank))

    def __len__(self) -> int:
        return len(self.sampler)
