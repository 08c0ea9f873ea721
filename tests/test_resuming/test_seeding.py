"""One key, one sequence of random numbers; it does not depend on what was drawn before."""

import random

import numpy as np
import torch

from mmcnv2.resuming.seeding import seed_random_numbers


def draw(*key):
    seed_random_numbers(*key)
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_same_key_same_numbers():
    first = draw(1, 2, 3)
    random.random(), np.random.rand(7), torch.rand(5)
    assert draw(1, 2, 3) == first


def test_other_key_other_numbers():
    keys = [(0,), (1,), (0, 1), (1, 0), (0, 0, 1), (2**40, 0), (1, 2, 3), (1, 2, 4)]
    numbers = {number for key in keys for number in draw(*key)}
    assert len(numbers) == 3 * len(keys)


def test_numbers_of_consecutive_keys_are_uniform():
    """A sample of each of 2000 neighbours: mean 1/2 and variance 1/12, and no correlation from one to the next."""
    numbers = np.array([draw(0, 0, iteration) for iteration in range(2000)])
    assert np.abs(numbers.mean(0) - 0.5).max() < 4 * (1 / 12 / 2000) ** 0.5
    assert np.abs(numbers.var(0) - 1 / 12).max() < 0.01
    assert all(abs(np.corrcoef(column[:-1], column[1:])[0, 1]) < 0.1 for column in numbers.T)
