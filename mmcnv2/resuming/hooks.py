"""What a run that goes on makes up for: a validation that never ran, and a checkpoint of other settings."""

import logging
import warnings
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from mmengine.optim.scheduler import ReduceOnPlateauParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.distributed.fsdp import FullyShardedDataParallel, OptimStateKeyType

from mmcnv2.utils.errors import InputError
from mmcnv2.utils.unwrapping import unwrapped

from .seeding import seed_random_numbers

EPOCH_LENGTH, ACCUMULATION, VALIDATED = 'epoch_length', 'accumulative_counts', 'validated_iter'
EARLY_STOPPING = 'early_stopping'


class AdaptationHook(Hook):
    """A hook that adapts a checkpoint to a run that goes on with other settings, before MMEngine takes it up.

    - Another number of processes or another batch size changes the iterations of an epoch. The run then continues at
      the start of the epoch, and the schedules are those of a run that has had the new length from its beginning. The
      averages (EMA) have made as large a share of their updates.
    - Where ``auto_scale_lr`` asks for another learning rate than the checkpoint's, the schedules start from that.
    - Where the checkpoint has no schedulers (``save_param_scheduler=False``), they are computed up to its position.
    - Gradients that were accumulated for a step are left out if the number of iterations of a step has changed.
    - The optimizer's state of a training with FSDP has the names of parameters; it gets the numbers of this optimizer.

    A checkpoint that none of this applies to is left as it is.

    Raises:
        InputError: While resuming: a schedule that depends on the metrics so far cannot be computed.
    """

    priority = 'HIGHEST'

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Adapt the checkpoint."""
        if not runner._resume:
            return
        loop = runner.train_loop
        info = checkpoint.get('message_hub', {}).get('runtime_info', {})
        accumulation = getattr(runner.optim_wrapper, '_accumulative_counts', None)
        if checkpoint.get('gradients') and info.get(ACCUMULATION, accumulation) != accumulation:
            del checkpoint['gradients']
            _warn(
                f'A step had {info[ACCUMULATION]} iterations, now it has {accumulation}: the gradients of the step '
                'that was not finished are left out'
            )
        before = now = None
        if isinstance(loop, EpochBasedTrainLoop):
            now = len(loop.dataloader)
            before = info.get(EPOCH_LENGTH, now)
        is_longer = before != now
        if not isinstance(runner, Runner):  # a strategy has the optimizer and the schedulers
            if is_longer:
                raise InputError(
                    f'the checkpoint is of a run with {before} iterations an epoch, now there are {now}: with '
                    'FlexibleRunner, resume with as many processes and the same batch size'
                )
            return
        if checkpoint.get('optimizer', {}).get('state'):
            _number_parameters(runner, checkpoint)
        if is_longer:
            self._change_length(checkpoint, before, now)  # type: ignore[arg-type]
        has_schedules = not runner.param_schedulers or bool(checkpoint.get('param_schedulers'))
        is_incomplete = 'optimizer' not in checkpoint or not has_schedules
        if is_longer or is_incomplete or self._has_other_lr(runner, checkpoint):
            self._recompute_schedules(runner, checkpoint, now)

    def before_train(self, runner: Runner) -> None:
        """Note what a later run has to compare."""
        hub = runner.message_hub  # saved in checkpoints
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            hub.update_info(EPOCH_LENGTH, len(runner.train_loop.dataloader))
        if (accumulation := getattr(runner.optim_wrapper, '_accumulative_counts', None)) is not None:
            hub.update_info(ACCUMULATION, accumulation)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Note, before a checkpoint is saved, that this position has been validated."""
        if runner._train_loop is not None and not isinstance(runner._train_loop, dict):
            runner.message_hub.update_info(VALIDATED, runner.iter)

    def _change_length(self, checkpoint: dict, before: int, now: int) -> None:
        meta, info = checkpoint['meta'], checkpoint['message_hub']['runtime_info']
        epochs = meta['iter'] // before  # that are whole
        _warn(
            f'The checkpoint is of a run with {before} iterations an epoch, now there are {now}: continuing at the '
            f'start of epoch {epochs + 1}, with the schedules of a run of that length'
        )
        if (steps := checkpoint.get('ema_state_dict', {}).get('steps')) is not None and meta['iter']:
            steps.copy_((steps * (epochs * now)).div(meta['iter'], rounding_mode='floor'))
        if info.get(VALIDATED) == epochs * before:
            info[VALIDATED] = epochs * now
        meta['iter'] = epochs * now
        checkpoint.pop('gradients', None)  # of a step in the middle of an epoch

    def _has_other_lr(self, runner: Runner, checkpoint: dict) -> bool:
        if not (runner.auto_scale_lr or {}).get('enable') or 'optimizer' not in checkpoint:
            return False
        pairs = _groups(runner, checkpoint)
        return any(
            abs(new['initial_lr'] - old['initial_lr']) > 1e-9 * new['initial_lr']
            for new, old in pairs
            if 'initial_lr' in new and 'initial_lr' in old
        )

    def _recompute_schedules(self, runner: Runner, checkpoint: dict, length: int | None) -> None:
        """Step fresh schedulers to the position, and put them and what they set into the checkpoint."""
        meta = checkpoint['meta']
        schedulers = [*_all_schedulers(runner.param_schedulers)]
        if any(isinstance(scheduler, ReduceOnPlateauParamScheduler) for scheduler in schedulers):
            raise InputError(
                'a ReduceOnPlateau scheduler depends on the metrics of the training so far: resume with as many '
                'processes, the same batch size and the same auto_scale_lr'
            )
        print_log(f'Computing the schedules up to iteration {meta["iter"]}', 'current')
        by_iteration = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
        by_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='.*before `optimizer.step')
            for iteration in range(1, meta['iter'] + 1):
                for scheduler in by_iteration:
                    scheduler.step()
                # That of an epoch whose end is still to come is stepped there.
                if length and iteration % length == 0 and iteration <= meta['epoch'] * length:
                    for scheduler in by_epoch:
                        scheduler.step()
        if runner.param_schedulers:
            checkpoint['param_schedulers'] = _states(runner.param_schedulers)
        if 'optimizer' not in checkpoint:
            _warn(f'The checkpoint has no state of the optimizer: it starts from nothing at iteration {meta["iter"]}')
            return
        names = {scheduler.param_name for scheduler in schedulers} | {'lr'}
        for new, old in _groups(runner, checkpoint):
            old.update({key: new[key] for name in names for key in (name, f'initial_{name}') if key in new})


class EvaluationSeedHook(Hook):
    """A hook that seeds the random numbers of every batch of a validation or a test: FCMAE's masks.

    They are the same in every validation, in a run that goes on, and in the test of a checkpoint.
    """

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed."""
        seed_random_numbers(runner.seed, batch_idx)  # samples and iterations of a training have longer keys

    before_test_iter = before_val_iter


class MissedValidationHook(Hook):
    """A hook that runs the validation of the position that a run continues from, if it was due and did not end.

    A checkpoint of an epoch or iteration is written before its validation: a run that was killed in that, or stopped
    between the two, would otherwise never have its metrics and its best checkpoint.
    """

    priority = 'LOWEST'  # after all that makes hooks ready for a validation

    def before_train(self, runner: Runner) -> None:
        """Validate."""
        loop = runner.train_loop
        if not runner._resume or not loop.iter or runner.val_loop is None:
            return
        if runner.message_hub.runtime_info.get(VALIDATED) == loop.iter or not is_validation_due(loop):
            return
        print_log(f'Making up for the validation at iteration {loop.iter}', 'current')
        runner.val_loop.run()


class EarlyStoppingStateHook(Hook):
    """A hook that keeps in checkpoints what ``EarlyStoppingHook`` has counted; MMEngine starts to count again."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the state of each, if there is one."""
        if states := [(float(hook.best_score), hook.wait_count) for hook in _early_stopping(runner)]:
            checkpoint[EARLY_STOPPING] = states

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Restore it, in a run that goes on."""
        if runner._resume:
            for hook, state in zip(_early_stopping(runner), checkpoint.get(EARLY_STOPPING, ()), strict=False):
                hook.best_score, hook.wait_count = state


def is_validation_due(loop: Any) -> bool:
    """Return whether a training loop of MMEngine validates at its position."""
    position, end = loop.iter, loop.max_iters
    if isinstance(loop, EpochBasedTrainLoop):
        if loop.iter != loop.epoch * len(loop.dataloader):
            return False
        position, end = loop.epoch, loop.max_epochs
    loop._decide_current_val_interval()
    return position >= loop.val_begin and (position % loop.val_interval == 0 or position == end)


def _number_parameters(runner: Runner, checkpoint: dict) -> None:
    """Name the parameters in the state of one optimizer by numbers, as torch does."""
    saved = checkpoint['optimizer']
    numbered = FullyShardedDataParallel.rekey_optim_state_dict(
        saved, OptimStateKeyType.PARAM_ID, unwrapped(runner.model), optim=runner.optim_wrapper.optimizer
    )
    checkpoint['optimizer'] = saved | numbered


def _early_stopping(runner: Runner) -> list[EarlyStoppingHook]:
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]


def _all_schedulers(schedulers: Any) -> Iterator[Any]:
    for one in (schedulers or {}).values() if isinstance(schedulers, dict) else schedulers or []:
        yield from one if isinstance(one, list) else [one]


def _states(schedulers: Any) -> Any:
    if isinstance(schedulers, dict):
        return {name: [one.state_dict() for one in some] for name, some in schedulers.items()}
    return [one.state_dict() for one in schedulers]


def _groups(runner: Runner, checkpoint: dict) -> Iterator[tuple[dict, dict]]:
    """Yield the groups of parameters of the optimizer, fresh, and the same of the checkpoint."""
    wrapper, state = runner.optim_wrapper, checkpoint['optimizer']
    pairs = [(wrapper, state)]
    if isinstance(wrapper, OptimWrapperDict):
        pairs = [(wrapper[name], state[name]) for name in wrapper if name in state]
    for one, saved in pairs:
        yield from zip(one.optimizer.param_groups, saved['param_groups'], strict=False)
        base, saved_base = getattr(one, 'base_param_settings', None), saved.get('base_param_settings')
        if base is not None and saved_base is not None:
            yield base, saved_base


def _warn(text: str) -> None:
    print_log(text, 'current', level=logging.WARNING)
