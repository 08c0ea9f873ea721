"""Warn of averaged weights that a training is too short for."""

import warnings

from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage, MomentumAnnealingEMA
from mmengine.registry import MODELS
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

_KEPT = 0.05  # of what the averages began with; less makes no difference


def check_averages(runner: Runner | FlexibleRunner) -> None:
    """Warn if averaged weights (``EMAHook``) are still much of what they began with when the training ends.

    They are what validation measures and checkpoints hold: of a short training they stay at chance.

    Args:
        runner: Its train loop is built; nothing has run yet.
    """
    loop = runner.train_loop
    for hook in runner.hooks:
        if not isinstance(hook, EMAHook):
            continue
        average = MODELS.build(hook.ema_cfg, default_args=dict(model=nn.Identity()))
        # The other kinds average over what there was so far, so that they forget at once where they began.
        if not isinstance(average, ExponentialMovingAverage) or isinstance(average, MomentumAnnealingEMA):
            continue
        begin = hook.begin_iter or hook.begin_epoch * loop.max_iters // (loop.max_epochs or 1)
        updates = (loop.max_iters - begin) // average.interval
        kept = (1 - average.momentum) ** updates
        if kept > _KEPT:
            warnings.warn(
                f'{type(hook).__name__} with momentum {average.momentum:g} averages weights over about '
                f'{1 / average.momentum:.0f} updates, and the training has {updates}: at its end {kept:.0%} of the '
                'averages, which validation measures and checkpoints hold, will be the weights that they began with. '
                f'Set momentum to {min(5 / max(updates, 1), 0.5):.1g} or leave the hook out',
                stacklevel=2,
            )
