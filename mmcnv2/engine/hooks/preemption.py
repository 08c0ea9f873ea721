import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcnv2.registry import HOOKS
from mmcnv2.resuming.checkpoints import PREEMPTED_FILE
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
    """A hook that on SIGTERM or SIGUSR1 finishes the step, saves ``preempted.pth`` to the work dir and stops the run.

    It is enough that one process gets the signal: all of them agree after each iteration. Between the signal and the
    end, a cluster should leave time for a step and a checkpoint.

    Raises:
        Preempted: While training, once the checkpoint is written.
    """

    # After CheckpointHook (VERY_LOW), so that a checkpoint of the same iteration is there already.
    priority = 'LOWEST'
    SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self._received = 0
        self._previous: dict[int, Callable | int | None] = {}

    def before_train(self, runner: Runner) -> None:
        """Take over the signals from the default, which is to end at once."""
        if threading.current_thread() is threading.main_thread():  # other threads may not
            self._previous = {number: signal.signal(number, self._receive) for number in self.SIGNALS}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Save and stop if there was a signal."""
        number = self._of_any_process()
        if not number or is_between_steps(runner):
            return
        options = dict(by_epoch=False, backend_args=ATOMIC_BACKEND_ARGS)
        save_or_stop(runner.save_checkpoint, runner.work_dir, PREEMPTED_FILE, **options)
        path = Path(runner.work_dir, PREEMPTED_FILE)
        if is_main_process():
            path.with_name('last_checkpoint').write_text(str(path))  # for MMEngine
        raise Preempted(number, str(path))

    def after_train(self, runner: Runner) -> None:
        """Give the signals back, and remove the file of an earlier stop, as the run has ended."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        path = Path(runner.work_dir, PREEMPTED_FILE)
        if is_main_process() and path.is_file():  # DeepSpeed's is a folder
            path.unlink()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def _of_any_process(self) -> int:
        if get_world_size() == 1:
            return self._received
        number = torch.tensor(self._received, device=get_device())
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number)
