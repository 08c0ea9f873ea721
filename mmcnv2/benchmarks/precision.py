"""The loss of a training in float32 and in bfloat16: the same seed, images and masks."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from .training import train_for

WINDOW = 20  # iterations, over which a loss is averaged before it is compared


def losses_by_precision(cfg: Config, iterations: int, allow_pickle: bool = False) -> dict[str, list[float]]:
    """Train a config in float32, then from the start in bfloat16, and return the losses of each iteration.

    Args:
        cfg: Of a training, with ``work_dir``, below which each has a folder.
        iterations: How many.
        allow_pickle: See ``install_safe_loaders``.

    Raises:
        InputError: If a data set is missing.
    """
    losses = {}
    for name in ('float32', 'bfloat16'):
        recorder = _LossRecorder()
        train_for(iterations, _with_precision(cfg, name), recorder, allow_pickle)
        losses[name] = recorder.losses
    return losses


def _with_precision(cfg: Config, name: str) -> Config:
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(Path(cfg.work_dir) / name)
    cfg.setdefault('randomness', dict(seed=0))
    for key in ('dtype', 'loss_scale', 'use_fsdp'):
        cfg.optim_wrapper.pop(key, None)
    cfg.optim_wrapper.type = 'OptimWrapper'
    if name == 'bfloat16' and torch.cuda.is_available():
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=1.0)
    elif name == 'bfloat16':
        cfg.optim_wrapper.type = 'mmcnv2.BFloat16OptimWrapper'
    return cfg


class _LossRecorder(Hook):
    """Record the loss of every iteration."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.losses: list[float] = []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.losses.append(outputs['loss'].item())


def relative_differences(losses: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Return |a / b - 1| of the means a and b over each window of ``WINDOW`` iterations; the last may be shorter."""
    windows = [slice(i, i + WINDOW) for i in range(0, len(reference), WINDOW)]
    return [abs(sum(losses[window]) / sum(reference[window]) - 1) for window in windows]


def draw(losses: dict[str, list[float]], path: str) -> None:
    """Draw the losses, and the relative difference of their means over windows, to an image file."""
    figure = Figure(figsize=(8, 6), layout='constrained')
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for name, values in losses.items():
        above.plot(range(1, len(values) + 1), values, label=name, linewidth=1)
    above.set_ylabel('loss')
    above.legend()
    differences = relative_differences(losses['bfloat16'], losses['float32'])
    below.plot([WINDOW * (i + 1) for i in range(len(differences))], [100 * value for value in differences], marker='.')
    below.set(xlabel='iterations', ylabel=f'difference of means\nover {WINDOW} iterations (%)', ylim=(0, None))
    figure.savefig(path, dpi=100)
