"""MMEngine's training loops, made to continue exactly where a run was stopped.

All random numbers are functions of the seed and the position in the training: those of a sample (crop, flip, ...) of
its position in the epoch, those of the model (masks, drop path, mixup) of iteration and process. No random state has
to be saved, and a run resumed from a checkpoint, within an epoch or not, does what it would have done without a stop.
"""

from itertools import islice
from typing import TYPE_CHECKING, Any

from mmengine.runner import BaseLoop, Runner, loops

from mmcnv2.registry import LOOPS
from mmcnv2.utils.errors import InputError, TrainingStopped

from .hooks import AdaptationHook, EarlyStoppingStateHook, MissedValidationHook
from .seeding import iteration_key, seed_random_numbers
from .workers import death_of_worker, end_workers, protect_workers

if TYPE_CHECKING:  # mixed into this loop and the one that counts iterations
    from mmengine.runner import EpochBasedTrainLoop as _Loop
else:
    _Loop = object


class _SeededLoop(_Loop):
    def __init__(self, runner: Runner, dataloader: dict, *args: Any, **kwargs: Any) -> None:
        if not isinstance(dataloader, dict):
            raise TypeError(f'{type(self).__name__} takes the config of a data loader, got a {type(dataloader)}')
        num_workers = dataloader.get('num_workers', 0)
        dataloader = dict(
            dataloader,
            dataset=dict(type='mmcnv2.SeededDataset', dataset=dataloader['dataset'], num_workers=num_workers),
            sampler=dict(type='mmcnv2.SeededSampler', sampler=dataloader['sampler']),
        )
        super().__init__(runner, dataloader, *args, **kwargs)
        protect_workers(self.dataloader, 'train_dataloader')
        runner.register_hook(AdaptationHook())
        runner.register_hook(EarlyStoppingStateHook())
        runner.register_hook(MissedValidationHook())
        batches = self.dataloader.batch_sampler
        self._sampler = batches.sampler if self.dataloader.batch_size is None else self.dataloader.sampler

    def run(self) -> Any:
        """Train to the end or until ``TrainingStopped``."""
        if not self.runner._randomness_cfg.get('diff_rank_seed'):  # else it is not the same in all processes
            self._sampler.seed = self.runner.seed  # that of the checkpoint in a resumed run
        try:
            return super().run()
        except (RuntimeError, ConnectionError, EOFError) as error:
            death = death_of_worker(error)
            if death is None:
                raise
            files = ', '.join(self.dataloader.dataset.files_in_progress()) or 'no file'
            raise TrainingStopped(
                f'{death}. It was in iteration {self._iter + 1}; workers of train_dataloader were reading {files}. '
                'Continue with --resume'
            ) from error
        finally:
            end_workers(self)
            if isinstance(self.runner._val_loop, BaseLoop):  # it is built with the first validation
                end_workers(self.runner._val_loop)

    def run_iter(self, *args: Any) -> None:
        """Run one iteration with random numbers of its own."""
        seed_random_numbers(*iteration_key(self.runner))
        super().run_iter(*args)


@LOOPS.register_module()
class EpochBasedTrainLoop(_SeededLoop, loops.EpochBasedTrainLoop):
    """MMEngine's ``EpochBasedTrainLoop``, which can also continue in the middle of an epoch.

    Args:
        runner: The runner.
        dataloader: Config of the data loader.
        **kwargs: ``max_epochs``, ``val_begin``, ``val_interval``, ``dynamic_intervals``: see MMEngine.

    Raises:
        TrainingStopped: In ``run``, if a worker of the data loader died; names the files that were being read.
    """

    def run_epoch(self) -> None:
        """Run the rest of an epoch: all of it, unless the run continues from a checkpoint within it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        if self.dataloader.batch_size:
            self._sampler.skip(done * self.dataloader.batch_size)
            batches = iter(self.dataloader)
        else:  # a batch sampler of another kind: only its batches can be counted
            batches = islice(self.dataloader, done, None)
        for idx, data_batch in enumerate(batches, done):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class IterBasedTrainLoop(_SeededLoop, loops.IterBasedTrainLoop):
    """MMEngine's ``IterBasedTrainLoop`` with random numbers that depend only on the position in the training.

    Args:
        runner: The runner.
        dataloader: Config of the data loader; its sampler must be MMEngine's ``InfiniteSampler`` or one like it.
        **kwargs: ``max_iters``, ``val_begin``, ``val_interval``, ``dynamic_intervals``: see MMEngine.

    Raises:
        TrainingStopped: In ``run``, if a worker of the data loader died; names the files that were being read.
        ValueError: If the sampler ends.
    """

    def __init__(self, runner: Runner, dataloader: dict, *args: Any, **kwargs: Any) -> None:
        super().__init__(runner, dataloader, *args, **kwargs)
        if not hasattr(self._sampler.sampler, 'skip'):
            raise InputError(
                f'train_dataloader.sampler must be an InfiniteSampler for a training that counts iterations, '
                f'got {type(self._sampler.sampler).__name__}'
            )
