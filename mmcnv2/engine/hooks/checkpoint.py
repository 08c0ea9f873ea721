import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from mmengine import hooks
from mmengine.dist import get_world_size, is_main_process
from mmengine.fileio import LocalBackend
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from mmcnv2.registry import HOOKS
from mmcnv2.utils.errors import TrainingStopped
from mmcnv2.utils.files import ATOMIC_BACKEND_ARGS, temporary_name


@HOOKS.register_module()
class CheckpointHook(hooks.CheckpointHook):
    """MMEngine's ``CheckpointHook``, with checkpoints that are written whole or not at all, and hold all of a run.

    With accumulation, a checkpoint may come between two steps. It then has the gradients accumulated so far, averaged
    over the processes, as ``gradients`` (not those of a sharded model: its step starts again).

    Args:
        max_keep_ckpts: Keep this many, all with -1. The oldest is removed once the newest is written, not before.
            With 2 or more, there is one to continue from if the newest is damaged.
        **kwargs: See MMEngine.

    Raises:
        TrainingStopped: While training: if a checkpoint cannot be written. Older ones stay intact.
    """

    def __init__(self, *args: Any, max_keep_ckpts: int = -1, **kwargs: Any) -> None:
        # MMEngine removes before it writes, so let it keep one more.
        one_more = max_keep_ckpts + 1 if max_keep_ckpts > 0 else -1
        super().__init__(*args, max_keep_ckpts=one_more, **kwargs)
        self._gradients: Sequence[Tensor | None] = ()

    # ---- saving ----

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if _has_gradients_to_keep(runner) and get_world_size() > 1:
            for parameter in runner.model.parameters():  # until the step, each process has its own
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad.div_(get_world_size()))
        save_or_stop(super()._save_checkpoint_with_step, runner, step, meta)
        if self.max_keep_ckpts > 0 and len(self.keep_ckpt_ids) == self.max_keep_ckpts:
            oldest = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(self.keep_ckpt_ids.popleft()))
            if is_main_process() and self.file_backend.exists(oldest):
                remove = self.file_backend.rmtree if self.file_backend.isdir(oldest) else self.file_backend.remove
                remove(oldest)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the gradients of a step that is still to come, and leave out functions of schedulers (OneCycle)."""
        schedulers = checkpoint.get('param_schedulers') or []
        for states in schedulers.values() if isinstance(schedulers, dict) else [schedulers]:
            states[:] = [{key: value for key, value in state.items() if not callable(value)} for state in states]
        if _has_gradients_to_keep(runner):
            gradients = (parameter.grad for parameter in runner.model.parameters())
            checkpoint['gradients'] = [None if grad is None else grad.cpu() for grad in gradients]

    # ---- resuming ----

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what ``before_train`` needs."""
        self._gradients = checkpoint.get('gradients', ()) if runner._resume else ()

    def before_train(self, runner: Runner) -> None:
        """Remove what a killed run left half written, and restore the gradients of a step still to come."""
        super().before_train(runner)
        if type(self.file_backend) is LocalBackend:  # not a remote one, nor one that the config chose
            self.backend_args = ATOMIC_BACKEND_ARGS
        if is_main_process() and os.path.isdir(self.out_dir):
            for left_over in Path(self.out_dir).glob(temporary_name(Path('*.pth')).name):
                left_over.unlink()
        if self._gradients:
            for parameter, grad in zip(runner.model.parameters(), self._gradients, strict=True):
                parameter.grad = None if grad is None else grad.to(parameter.device)
            self._gradients = ()


def is_between_steps(runner: Runner) -> bool:
    """Return whether gradients have been accumulated for a step that is still to come."""
    wrapper = runner.optim_wrapper
    # A strategy for sharded models may have an optimizer of its own, which accumulates elsewhere.
    return isinstance(wrapper, OptimWrapper) and not wrapper.should_update()


def _has_gradients_to_keep(runner: Runner) -> bool:
    # With FlexibleRunner's strategies, each process holds a part of the gradients.
    return isinstance(runner, Runner) and is_between_steps(runner)


def save_or_stop(save: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    """Call a function that writes a checkpoint.

    Raises:
        TrainingStopped: If it cannot be written.
    """
    try:
        save(*args, **kwargs)
    except OSError as error:
        raise TrainingStopped(
            f'a checkpoint cannot be written: {error}. Those written before are unharmed. '
            'Free some space or name another --work-dir, then continue with --resume'
        ) from error
