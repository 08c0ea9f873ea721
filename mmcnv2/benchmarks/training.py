"""Trainings of a number of iterations, for measurements."""

from contextlib import suppress
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcnv2.engine.runner import build_runner
from mmcnv2.engine.safe_loaders import install_safe_loaders
from mmcnv2.preflight import check_dataset_paths


def train_for(iterations: int, cfg: Config, recorder: Hook, allow_pickle: bool = False) -> None:
    """Train a config for a number of iterations. Validation, checkpoints and pictures happen when the config says.

    Args:
        iterations: How many.
        cfg: Of a training, with ``work_dir``; its number of epochs or iterations is changed.
        recorder: A hook with the priority 'LOWEST': it sees an iteration after checkpoints and pictures.
        allow_pickle: See ``install_safe_loaders``.

    Raises:
        InputError: If a data set is missing.
    """
    install_safe_loaders(cfg, allow_pickle)
    cfg.train_cfg.update({key: iterations for key in ('max_epochs', 'max_iters') if key in cfg.train_cfg})
    check_dataset_paths(cfg, ('train', 'val'))
    runner = build_runner(cfg)
    runner.register_hook(recorder)
    runner.register_hook(_Stop(iterations))
    with suppress(_Done):
        runner.train()


class _Done(Exception):
    """The training has had its iterations."""


class _Stop(Hook):
    priority = 'LOWEST'  # registered behind the recorder, and so called after it

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter + 1 == self.iterations:
            raise _Done
