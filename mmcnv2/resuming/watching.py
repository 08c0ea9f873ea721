"""What happens to samples while they are read: which ones a dead worker had, and disks that vanish for a while."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from mmengine.logging import print_log
from torch.utils.data import get_worker_info

T = TypeVar('T')

#: Seconds to wait for the folder of the data to come back, and between two attempts.
PATIENCE, PAUSE = 600, 5


class SamplesInProgress:
    """The sample that each worker of a data loader is reading, in shared memory, so that it outlives a worker.

    Args:
        num_workers: Workers of the data loader; with none, the main process reads.
    """

    def __init__(self, num_workers: int) -> None:
        self._indices = torch.full((max(num_workers, 1),), -1).share_memory_()  # -1: none

    @contextmanager
    def note(self, index: int) -> Iterator[None]:
        """Note that this process reads a sample. An error leaves the note in place."""
        worker = get_worker_info()
        slot = worker.id if worker else 0
        self._indices[slot] = int(index)
        yield
        self._indices[slot] = -1

    def indices(self) -> list[int]:
        """Return the indices of the samples being read."""
        return [index for index in self._indices.tolist() if index >= 0]


def wait_for_folder(folder: str, read: Callable[[], T]) -> T:
    """Return what ``read`` returns; if the folder is gone, as a network disk may be, try again for ten minutes.

    Args:
        folder: Folder that ``read`` reads from; '' if unknown, which means not to wait.
        read: Function to call until it succeeds.

    Raises:
        OSError: From ``read``, if the folder is there or has not come back in time.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return read()
        except OSError as error:
            if not folder or os.path.isdir(folder) or time.monotonic() > deadline:
                raise
            print_log(
                f'Folder {folder} is gone: {error}. Trying again every {PAUSE} seconds for {PATIENCE} seconds.',
                logger='current',
                level=logging.WARNING,
            )
            time.sleep(PAUSE)
