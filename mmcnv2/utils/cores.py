"""How many cores this process may use. Without torch, which rendering does not need."""

import os


def num_cores() -> int:
    """Return the number of cores that the process may run on, at least 1; where the system cannot say, all."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
