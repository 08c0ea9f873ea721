"""Warn of schedules and intervals that do not fit the length of the training.

All of these train, so that they are no errors: a learning rate that stays up, a validation that never comes.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

_REACH_AN_END = ('CosineAnnealing', 'Poly')
_FIT = 0.05  # of T_max; less makes no difference


def check_schedules(cfg: Config, splits: Sequence[str]) -> None:
    """Compare schedulers and the intervals of validation and checkpoints with the length of the training.

    Args:
        cfg: Config of a run.
        splits: Of 'train', 'val', 'test': the dataloaders that will be used.
    """
    loop = cfg.get('train_cfg') or {}
    by_epoch = 'max_epochs' in loop
    key = 'max_epochs' if by_epoch else 'max_iters'
    length = loop.get(key)
    if 'train' not in splits or not isinstance(length, int):
        return
    training = f'train_cfg.{key}={length}'
    reports = [*_schedulers(cfg, length, by_epoch, training), *_intervals(cfg, loop, length, by_epoch, training)]
    for report in reports:
        warnings.warn(report, stacklevel=2)


def _schedulers(cfg: Config, length: int, by_epoch: bool, training: str) -> Iterator[str]:
    for group in _groups('param_scheduler', cfg.get('param_scheduler')):
        ends = []  # of those in the unit of the training
        for setting, scheduler in group:
            if scheduler.get('by_epoch', True) != by_epoch:
                ends.append((length, setting, ''))
                if not by_epoch:
                    yield (
                        f'{setting} steps by epoch, but {training} counts iterations, in which no epoch ends: it '
                        'changes nothing. Set by_epoch=False and its lengths in iterations'
                    )
                continue
            kind = str(scheduler.get('type'))
            ends.append((scheduler.get('end', length), setting, kind))
            yield from _scheduler(setting, kind, scheduler, length, training)
        end, setting, kind = max(ends, default=(length, '', ''))
        if end < length and any(name in kind for name in _REACH_AN_END):
            yield (
                f'{setting}.end={end} is before the end of the training, {training}: the rest has a constant rate. '
                'Leave out end and T_max, and it ends with the training'
            )


def _scheduler(setting: str, kind: str, scheduler: Mapping, length: int, training: str) -> Iterator[str]:
    begin, end = scheduler.get('begin', 0), scheduler.get('end', length)
    if begin >= length:
        yield f'{setting}.begin={begin} is not before the end of the training, {training}: it never starts. Lower it'
        return
    reaches_an_end = any(name in kind for name in _REACH_AN_END)
    if end > length and reaches_an_end:
        yield (
            f'{setting}.end={end} is after the end of the training, {training}: it stops on its way. Leave out end '
            'and T_max, and it ends with the training'
        )
    elif end > length and 'Linear' in kind:
        yield f'{setting}: a warm-up until {end} is longer than the training, {training}. Set {setting}.end below it'
    cycle = scheduler.get('T_max')
    span = min(end, length) - begin
    said = end > length and cycle == end - begin
    anneals = kind.endswith(('CosineAnnealingLR', 'CosineAnnealingMomentum'))
    if anneals and cycle and not said and abs(cycle - span) > _FIT * span:
        yield (
            f'{setting}.T_max={cycle}, but it runs for {span} until it or the training ends ({training}). Leave out '
            'T_max, and it is that'
        )
    late = [milestone for milestone in scheduler.get('milestones') or [] if milestone >= length]
    if late:
        yield f'{setting}.milestones: {late} are not before the end of the training, {training}: move them'


def _intervals(cfg: Config, loop: Mapping, length: int, by_epoch: bool, training: str) -> Iterator[str]:
    if cfg.get('val_dataloader'):
        # One more than the length is how mmdet turns validation off.
        if (begin := loop.get('val_begin', 1)) > length + 1:
            yield f'train_cfg.val_begin={begin} is after the end of the training, {training}: no validation. Lower it'
        elif (interval := loop.get('val_interval', 1)) > length + 1:
            yield (
                f'train_cfg.val_interval={interval} is longer than the training, {training}: no validation on the '
                'way. Lower it'
            )
        late = [list(entry) for entry in loop.get('dynamic_intervals') or [] if entry[0] > length]
        if late:
            yield f'train_cfg.dynamic_intervals: {late} begin after the end of the training, {training}: move them'
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    interval = hook.get('interval', -1)
    if hook.get('by_epoch', True) == by_epoch and isinstance(interval, int) and interval > length:
        yield (
            f'default_hooks.checkpoint.interval={interval} is longer than the training, {training}: no checkpoint '
            'before the end. Lower it'
        )
    elif interval > 0 and hook.get('by_epoch', True) and not by_epoch:
        yield (
            f'default_hooks.checkpoint counts epochs, but {training} counts iterations, in which no epoch ends: no '
            'checkpoint before the end. Set default_hooks.checkpoint.by_epoch=False and interval in iterations'
        )


def _groups(setting: str, schedulers: Any) -> Iterator[list[tuple[str, Mapping]]]:
    """Yield the schedulers of each optimizer, with their settings."""
    if isinstance(schedulers, Mapping) and 'type' not in schedulers:
        for name, one in schedulers.items():
            yield from _groups(f'{setting}.{name}', one)
    elif isinstance(schedulers, Mapping):
        yield [(setting, schedulers)]
    elif schedulers:
        yield [(f'{setting}.{i}', one) for i, one in enumerate(schedulers) if isinstance(one, Mapping)]
