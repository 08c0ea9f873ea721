"""Data that tell about the worker that reads them; a module of its own, which a spawned worker imports at once."""

import os
import time

import torch
from torch.utils.data import Dataset, get_worker_info


class Pids(Dataset):
    """Pids of its workers, and what the user's ``worker_init_fn`` has set. The sample at ``hangs`` never comes."""

    hangs, is_set = -1, 0

    def __len__(self):
        return 40

    def __getitem__(self, index):
        while index == self.hangs:
            time.sleep(1)
        return torch.tensor([os.getpid(), self.is_set])


def user_init_fn(worker_id):
    get_worker_info().dataset.is_set = 7 + worker_id
