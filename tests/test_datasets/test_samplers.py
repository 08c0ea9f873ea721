"""ChunkedSampler: what the ranks of an epoch get."""

import itertools

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler

from mmcnv2.datasets import ChunkedSampler


@pytest.fixture
def sampler(monkeypatch):
    """Builds a rank's sampler."""

    def build(rank, world_size, length, **kwargs):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))
        return ChunkedSampler(range(length), **{'seed': 0, 'chunk_size': 5, 'buffer_size': 12, **kwargs})

    return build


def epoch(sampler, number):
    sampler.set_epoch(number)
    return list(sampler)


@pytest.mark.parametrize(('length', 'world_size'), [(48, 1), (48, 4), (50, 4), (4, 4), (7, 4)])
def test_ranks_have_equal_parts_and_none_twice(sampler, length, world_size):
    ranks = [sampler(rank, world_size, length) for rank in range(world_size)]
    left_out = set()
    for number in range(20):
        parts = [epoch(rank, number) for rank in ranks]
        assert {len(part) for part in parts} == {len(rank) for rank in ranks} == {length // world_size}
        seen = set(itertools.chain(*parts))
        assert len(seen) == length // world_size * world_size and seen <= set(range(length))
        left_out |= set(range(length)) - seen
    assert len(left_out) > length % world_size or length % world_size == 0  # not always the same


def test_order_depends_on_seed_and_epoch_only(sampler):
    trained = sampler(0, 1, 50)
    epochs = [epoch(trained, number) for number in range(4)]
    assert len({tuple(order) for order in epochs}) == 4
    assert epoch(sampler(0, 1, 50), 3) == epochs[3]  # as after a resume
    assert epoch(sampler(0, 1, 50, seed=1), 3) != epochs[3]
    # Ranks cut the same order.
    assert [index for rank in range(2) for index in epoch(sampler(rank, 2, 50), 3)] == epochs[3]


def test_chunks_stay_together_up_to_the_buffer(sampler):
    unbuffered = np.array(epoch(sampler(0, 1, 50, buffer_size=1), 0)).reshape(10, 5)
    assert (np.diff(unbuffered) == 1).all() and (unbuffered[:, 0] % 5 == 0).all()
    assert sorted(unbuffered[:, 0]) != list(unbuffered[:, 0])
    buffered = np.array(epoch(sampler(0, 1, 50, buffer_size=10), 0)).reshape(5, 10)
    for window, chunks in zip(buffered, unbuffered.reshape(5, 10), strict=True):
        assert sorted(window) == sorted(chunks) and list(window) != list(chunks)


def test_without_shuffling(sampler):
    assert epoch(sampler(1, 3, 11, shuffle=False), 2) == [3, 4, 5]


def test_errors(sampler):
    with pytest.raises(ValueError, match='chunk_size and buffer_size must be positive, got 0 and 12'):
        sampler(0, 1, 10, chunk_size=0)
    with pytest.raises(ValueError, match='3 images are too few for 4 ranks'):
        sampler(0, 4, 3)
    assert isinstance(sampler(0, 1, 10), DefaultSampler)  # --cfg-options only changes the type
