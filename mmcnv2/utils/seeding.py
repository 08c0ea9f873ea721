"""Random numbers that depend on where a training is, not on how it came there."""

import random

import numpy as np
import torch


def seed_random_numbers(*key: int) -> None:
    """Seeds Python, NumPy and torch (its CPU, and the current GPU once that is in use) from non-negative integers.

    Different keys, also of different lengths, give unrelated random numbers.
    """
    # With its length, since a SeedSequence does not see zeros at the end.
    python, numpy, cpu, gpu = np.random.SeedSequence((len(key), *key)).generate_state(4).tolist()
    random.seed(python)
    np.random.seed(numpy)
    # Not torch.manual_seed: without a GPU in use it keeps the seed, and a stack trace, for one that may come.
    torch.default_generator.manual_seed(cpu)
    if torch.cuda.is_initialized():  # not so in the workers of a data loader
        torch.cuda.manual_seed(gpu)
