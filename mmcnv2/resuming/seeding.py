"""Random numbers that depend on the position in the training, not on how it was reached."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.runner import Runner


def seed_random_numbers(*key: int) -> None:
    """Seed Python, NumPy and torch (the CPU, and the current GPU once it is in use) from non-negative integers.

    Different keys, also of different lengths, give unrelated random numbers.
    """
    # With the key's length, since a SeedSequence ignores trailing zeros.
    python, numpy, cpu, gpu = np.random.SeedSequence((len(key), *key)).generate_state(4).tolist()
    random.seed(python)
    np.random.seed(numpy)
    # Not torch.manual_seed: without a GPU in use it keeps the seed, and a stack trace, for one that may come.
    torch.default_generator.manual_seed(cpu)
    if torch.cuda.is_initialized():  # not so in the workers of a data loader
        torch.cuda.manual_seed(gpu)


def iteration_key(runner: Runner) -> tuple[int, ...]:
    """Return the key that seeds the current iteration in this process; keys of samples have three numbers."""
    return runner.seed, get_rank(), runner.iter, 0
