"""The order of an epoch over files whose neighbours are best read together."""

from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dataset import DefaultSampler

from mmcnv2.registry import DATA_SAMPLERS
from mmcnv2.utils.errors import InputError


@DATA_SAMPLERS.register_module()
class ChunkedSampler(DefaultSampler):
    """Chunks of neighbours in random order, then shuffled within a buffer; each rank takes one part of that.

    A rank thus reads from few places at a time, and not from those of other ranks. The order depends on
    ``seed`` and epoch alone and is cut into parts of equal length: no image comes twice in an epoch, and
    every rank has the same number of batches. The remainder, fewer images than there are ranks, is left
    out; it changes with the epoch. With the loader's ``drop_last``, an epoch has ``R * B * (N // R // B)``
    of N images, for R ranks and batches of B.

    Only indices are shuffled: the buffer holds no images.

    Args:
        dataset: Dataset of N images, neighbours stored near each other.
        chunk_size: Images that stay together until the buffer, for instance a shard or a part of one.
        buffer_size: Images that are shuffled with each other.
        shuffle: False leaves the order as it is.
        seed: The same on all ranks; None: they agree on a random one.

    Raises:
        InputError: A size is not positive, or there are fewer images than ranks.
    """

    def __init__(
        self,
        dataset: Sized,
        chunk_size: int = 500,
        buffer_size: int = 10000,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=False)
        if chunk_size < 1 or buffer_size < 1:
            raise InputError(f'chunk_size and buffer_size must be positive, got {chunk_size} and {buffer_size}')
        if len(dataset) < self.world_size:
            raise InputError(f'{len(dataset)} images are too few for {self.world_size} ranks')
        self.chunk_size = chunk_size
        self.buffer_size = buffer_size
        self.num_samples = len(dataset) // self.world_size

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of this rank, ``len(self)`` of them."""
        start = self.rank * self.num_samples
        return iter(self._order()[start : start + self.num_samples].tolist())

    def _order(self) -> np.ndarray:
        """Return the order over all ranks, (N,) int64."""
        position = np.arange(len(self.dataset))
        if not self.shuffle:
            return position
        rng = np.random.default_rng((self.seed, self.epoch))
        chunk = position // self.chunk_size
        order = np.argsort(rng.permutation(chunk[-1] + 1)[chunk], kind='stable')
        return order[np.argsort(position // self.buffer_size + rng.random(len(position)))]
