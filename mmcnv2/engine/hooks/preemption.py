import logging
import math
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.dist import barrier, get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner

from mmcnv2.registry import HOOKS
from mmcnv2.resuming.checkpoints import PREEMPTED_FILE, newest_whole_checkpoint
from mmcnv2.resuming.workers import SIGNALS, protect_workers
from mmcnv2.utils.errors import TrainingStopped
from mmcnv2.utils.files import ATOMIC_BACKEND_ARGS

from .checkpoint import is_between_steps, save_or_stop


class Preempted(TrainingStopped):
    """A signal asked the run to stop, and it has saved ``checkpoint`` first.

    Args:
        signal_number: Number of the signal.
        checkpoint: Path of the file.
    """

    def __init__(self, signal_number: int, checkpoint: str) -> None:
        super().__init__(f'stopped by {signal.Signals(signal_number).name}; saved {checkpoint}. Go on with --resume')
        self.signal_number = signal_number


@HOOKS.register_module()
class PreemptionHook(Hook):
    """A hook that on SIGTERM, SIGUSR1 or SIGINT finishes the step, saves ``preempted.pth`` and stops the run.

    It is enough that one process gets the signal: all of them agree after each iteration, also of a validation. The
    signals may come to all processes, as clusters, ``timeout`` and terminals send them: workers of data loaders do not
    get them. Between the signal and the end, a cluster should leave time for a step and a checkpoint. Further signals
    change nothing, except that SIGINT (Ctrl-C) after more than a second ends the run at once, without a checkpoint.

    Raises:
        Preempted: While training, once the checkpoint is written by all processes.
    """

    # After CheckpointHook (VERY_LOW), so that a checkpoint of the same iteration is there already.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._received = 0
        self._first_interrupt = math.inf
        self._previous: dict[int, Any] = {}
        self._validates = self._may_stop_validation = False

    def before_run(self, runner: Runner) -> None:
        """Protect the workers of all data loaders; none has started yet."""
        for split in ('train', 'val', 'test'):
            loop = getattr(runner, f'_{split}_loop', None)
            if isinstance(loop, BaseLoop):
                protect_workers(loop.dataloader, f'{split}_dataloader')

    def before_train(self, runner: Runner) -> None:
        """Take over the signals from the default, which is to end at once."""
        if threading.current_thread() is threading.main_thread():  # other threads may not
            self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Save and stop if there was a signal."""
        number = self._of_any_process()
        if number and not is_between_steps(runner):
            self._save_and_stop(runner, number)

    def before_val_epoch(self, runner: Runner) -> None:
        """Find out whether the validation may be stopped: within a training, with as many batches in all processes."""
        self._validates = bool(self._previous) and not is_between_steps(runner)
        self._may_stop_validation = False
        if self._validates:
            batches = len(runner.val_dataloader)
            self._may_stop_validation = _greatest(batches) == -_greatest(-batches)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        """Save and stop if there was a signal: the rest of a validation may take longer than a cluster waits."""
        if self._may_stop_validation and (number := self._of_any_process()):
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):  # the model has the averaged weights now
                    hook.after_val_epoch(runner)
            said = 'The validation is left out; a resumed training begins with it'
            print_log(said, logger='current', level=logging.WARNING)
            self._save_and_stop(runner, number)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._validates = False

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Correct the position, which MMEngine takes to be within an iteration."""
        if self._validates and 'meta' in checkpoint:
            checkpoint['meta'].update(epoch=runner.epoch, iter=runner.iter)

    def after_train(self, runner: Runner) -> None:
        """Give the signals back, and remove the file of an earlier stop, as the run has ended."""
        self.give_back_signals()
        path = Path(runner.work_dir, PREEMPTED_FILE)
        if is_main_process() and path.is_file():  # DeepSpeed's is a folder
            path.unlink()
            _forget(path)

    def give_back_signals(self) -> None:
        """Restore what signals did before the training."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _save_and_stop(self, runner: Runner, number: int) -> NoReturn:
        options = dict(by_epoch=False, backend_args=ATOMIC_BACKEND_ARGS)
        save_or_stop(runner.save_checkpoint, runner.work_dir, PREEMPTED_FILE, **options)
        path = Path(runner.work_dir, PREEMPTED_FILE)
        if is_main_process():
            path.with_name('last_checkpoint').write_text(str(path))  # for MMEngine
        barrier()  # torchrun and slurm end all processes soon after the first has ended
        raise Preempted(number, str(path))

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            # ``timeout`` and torchrun send it twice at once, a person does not.
            if time.monotonic() > self._first_interrupt + 1:
                raise KeyboardInterrupt
            self._first_interrupt = min(self._first_interrupt, time.monotonic())
            # Not by print, in which the signal may have come.
            os.write(2, b'\nFinishing the step and saving; Ctrl-C again stops at once, without a checkpoint\n')
        self._received = number

    def _of_any_process(self) -> int:
        return _greatest(self._received)


def _forget(removed: Path) -> None:
    """Let ``last_checkpoint`` name one that is there, where it names the one that was removed."""
    last = removed.with_name('last_checkpoint')
    if not last.is_file() or Path(last.read_text().strip()).name != removed.name:
        return
    newest = newest_whole_checkpoint(str(removed.parent))
    if newest is None:
        last.unlink()
    else:
        last.write_text(newest)


def _greatest(number: int) -> int:
    """Return the greatest of the numbers that all processes have."""
    if get_world_size() == 1:
        return number
    numbers = torch.tensor(number, device=get_device())
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers)
