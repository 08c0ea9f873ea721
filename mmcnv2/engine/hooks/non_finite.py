import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner, save_checkpoint
from torch import Tensor, nn

from mmcnv2.registry import HOOKS
from mmcnv2.resuming.seeding import iteration_key
from mmcnv2.utils.errors import TrainingStopped
from mmcnv2.utils.files import ATOMIC_BACKEND_ARGS
from mmcnv2.utils.unwrapping import unwrapped

from .checkpoint import is_between_steps


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """A hook that leaves out a step whose loss or gradients are infinite or NaN, and saves what led to it.

    Weights and the optimizer's state stay as they are. ``non_finite/iter_N_rank_R.pth`` in the work dir gets the
    files of the batch, the batch, the losses, the weights (not those of a sharded model), and the ``key`` with which
    ``seed_random_numbers`` seeds the iteration: enough to run it again. The log counts them as ``non_finite_steps``.

    The float16 loss scaler leaves out steps by design; they are not counted here. An optimizer that is not torch's
    (DeepSpeed's) is not watched.

    Args:
        max_in_a_row: Stop after this many in a row.
        max_saved: Write at most this many files in a run.

    Raises:
        TrainingStopped: While training, after ``max_in_a_row``.
    """

    priority = 'NORMAL'  # before LoggerHook (BELOW_NORMAL) reads the count

    def __init__(self, max_in_a_row: int = 10, max_saved: int = 3) -> None:
        self.max_in_a_row = max_in_a_row
        self.max_saved = max_saved
        self._in_a_row = self._count = self._saved = 0
        self._infinite_loss: Tensor | bool = False  # in this process, since the last step
        self._left_out = False

    def before_train(self, runner: Runner) -> None:
        """Watch the losses and, just before its steps, the optimizer."""
        optimizer = runner.optim_wrapper.optimizer
        if not isinstance(optimizer, torch.optim.Optimizer):
            print_log(
                f'Steps that are not finite are not left out: {type(optimizer).__name__} is not a torch optimizer',
                logger='current',
                level=logging.WARNING,
            )
            return
        runner.model.register_forward_hook(self._watch_losses)
        optimizer.register_step_pre_hook(self._leave_out)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Count and save a step that was left out; stop if there are too many."""
        if self._left_out:
            self._left_out = False
            self._note(runner, data_batch, outputs)
        if not is_between_steps(runner):
            self._infinite_loss = False

    def _note(self, runner: Runner, data_batch: dict, outputs: dict) -> None:
        self._count += 1
        self._in_a_row += 1
        runner.message_hub.update_scalar('train/non_finite_steps', self._count)
        files = [str(sample.img_path) for sample in data_batch.get('data_samples', ()) if 'img_path' in sample]
        print_log(
            f'Iteration {runner.iter + 1}: loss or gradients are not finite, the step is left out '
            f'({self._in_a_row} in a row, {self._count} in all). Files: {", ".join(files)}',
            logger='current',
            level=logging.WARNING,
        )
        folder = Path(runner.work_dir) / 'non_finite'
        if self._saved < self.max_saved and (self._infinite_loss or get_rank() == 0):
            self._saved += 1
            content = dict(
                files=files,
                inputs=data_batch['inputs'],
                losses=outputs,
                key=iteration_key(runner),
            )
            if isinstance(runner, Runner):  # all processes would have to gather the weights of a sharded model
                model = unwrapped(runner.model)
                content['state_dict'] = model.state_dict()
            path = folder / f'iter_{runner.iter + 1}_rank_{get_rank()}.pth'
            save_checkpoint(content, str(path), backend_args=ATOMIC_BACKEND_ARGS)
        if self._in_a_row >= self.max_in_a_row:
            raise TrainingStopped(
                f'loss or gradients were not finite in {self._in_a_row} steps in a row, the last of them in iteration '
                f'{runner.iter + 1}. Look at the batches in {folder}, or lower the learning rate. The weights of the '
                'checkpoints are finite: continue with --resume'
            )

    def _watch_losses(self, module: nn.Module, args: tuple, output: Any) -> None:
        if module.training and isinstance(output, dict):
            for loss in _tensors(output):
                self._infinite_loss |= ~loss.detach().isfinite().all()

    def _leave_out(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        if not parameters:
            return
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
        # One number for all processes: with sharded gradients each sees its own part.
        infinite = (~norm.isfinite() | self._infinite_loss).float()
        if get_world_size() > 1:
            dist.all_reduce(infinite, dist.ReduceOp.MAX)
        if infinite:
            self._left_out = True
            for parameter in parameters:
                parameter.grad = None  # the optimizer skips it
        else:
            self._in_a_row = 0


def _tensors(losses: dict[str, Tensor | list[Tensor]]) -> Iterator[Tensor]:
    for value in losses.values():
        yield from value if isinstance(value, list | tuple) else [value]
