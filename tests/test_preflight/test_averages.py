"""Averages that a training is too short for."""

import warnings

import pytest
from helpers.small_run import build_runner

from mmcnv2.preflight import check_averages


def runner_of(work_dir, iterations, **hook):
    return build_runner(work_dir, iterations=iterations, hooks=[dict(type='EMAHook', **hook)])


def test_averages_that_stay_where_they_began(tmp_path):
    """0.99 to the 50th is 0.605."""
    with pytest.warns(
        UserWarning, match=r'over about 100 updates, and the training has 50: at its end 61% .* momentum to 0\.1 or'
    ):
        check_averages(runner_of(tmp_path, 50, momentum=0.01))


@pytest.mark.parametrize(
    ('hook', 'kept'),
    [(dict(momentum=0.1, interval=10), '48%'), (dict(momentum=0.1, begin_iter=60), '12%'), (dict(), '98%')],
)  # fmt: skip
def test_intervals_late_begin_and_the_default(tmp_path, hook, kept):
    """0.9^7 is 0.478, 0.9^20 is 0.122, 0.9998^80 is 0.984."""
    iterations = 70 if 'interval' in hook else 80
    with pytest.warns(UserWarning, match=f'at its end {kept}'):
        check_averages(runner_of(tmp_path, iterations, **hook))


@pytest.mark.parametrize(
    'hook',
    [
        dict(momentum=0.1),
        dict(ema_type='MomentumAnnealingEMA', momentum=1e-4, gamma=10),
        dict(ema_type='StochasticWeightAverage'),
    ],
)
def test_averages_that_forget(tmp_path, hook):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check_averages(runner_of(tmp_path, 80, **hook))
