"""Whether memory and open files of a long training stay constant.

Every ten iterations the resident memory of the process and its data loader workers, the files that they have open, and
the loss are recorded.
"""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from .training import train_for

EVERY = 10  # iterations
PAGE = os.sysconf('SC_PAGE_SIZE') / 2**20  # MiB

Row = tuple[int, float, int, float]  # iteration, resident memory (MiB), open files, loss


def record(cfg: Config, iterations: int, allow_pickle: bool = False) -> list[Row]:
    """Train for a number of iterations and return the rows that were recorded.

    Validation, checkpoints and pictures happen when the config says.

    Args:
        cfg: Of a training, with ``work_dir``; its number of epochs or iterations is changed.
        iterations: How many.
        allow_pickle: See ``install_safe_loaders``.

    Raises:
        InputError: If a data set is missing.
    """
    recorder = ResourceRecorder()
    train_for(iterations, cfg, recorder, allow_pickle)
    return recorder.rows


class ResourceRecorder(Hook):
    """Record a row every ten iterations."""

    priority = 'LOWEST'  # after checkpoints and pictures of the same iteration

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        done = runner.iter + 1
        if done % EVERY == 0:
            processes = [os.getpid(), *_children(os.getpid())]
            memory = sum(_resident(pid) for pid in processes)
            files = sum(len(os.listdir(f'/proc/{pid}/fd')) for pid in processes)
            self.rows.append((done, memory, files, outputs['loss'].item()))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def _resident(pid: int) -> float:
    return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * PAGE


def summary(rows: list[Row], warmup: int) -> dict[str, float]:
    """Return slopes (least squares, per 100 iterations), ranges, and whether the loss was always finite.

    Args:
        rows: From ``record``.
        warmup: Slopes and ranges are those after this iteration.
    """
    kept = np.array([row for row in rows if row[0] > warmup])
    iterations, memory, files, _ = kept.T
    return dict(
        iterations=rows[-1][0],
        memory_slope=float(np.polyfit(iterations, memory, 1)[0] * 100),
        memory_min=float(memory.min()),
        memory_max=float(memory.max()),
        files_slope=float(np.polyfit(iterations, files, 1)[0] * 100),
        files_min=int(files.min()),
        files_max=int(files.max()),
        loss_finite=all(math.isfinite(row[3]) for row in rows),
        loss_first=rows[0][3],
        loss_last=rows[-1][3],
    )


def draw(rows: list[Row], path: str) -> None:
    """Draw memory, open files and loss over the iterations to an image file."""
    iterations, *columns = np.array(rows).T
    figure = Figure(figsize=(8, 6), layout='constrained')
    axes = figure.subplots(len(columns), 1, sharex=True)
    for axis, values, name in zip(axes, columns, ('resident memory (MiB)', 'open files', 'loss'), strict=True):
        axis.plot(iterations, values)
        axis.set_ylabel(name)
        if name != 'loss':
            axis.set_ylim(0, 1.2 * values.max())
    axes[-1].set_xlabel('iterations')
    figure.savefig(path, dpi=100)
