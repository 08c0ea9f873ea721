"""A run that goes on with other settings, or after an unfinished validation, does what it would have done."""

import logging
import signal

import pytest
import torch
from helpers.small_run import build_runner
from helpers.training import load
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS, METRICS

from mmcnv2.engine.hooks import Preempted
from mmcnv2.resuming import EvaluationSeedHook, newest_whole_checkpoint
from mmcnv2.utils.errors import InputError

WARMUP = dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1, convert_to_iter_based=True)
COSINE = dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=3, T_max=2, convert_to_iter_based=True)
STEPS = dict(type='MultiStepLR', by_epoch=True, milestones=[2], gamma=0.5)


@HOOKS.register_module()
class RateRecorder(Hook):
    """Keeps the learning rate of each iteration, from 1."""

    def __init__(self):
        self.rates = {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.rates[runner.iter + 1] = runner.optim_wrapper.param_groups[0]['lr']


def rates(work_dir, **kwargs):
    recorder = RateRecorder()
    runner = build_runner(work_dir, hooks=[recorder, *kwargs.pop('hooks', [])], **kwargs)
    runner.train()
    return recorder.rates, runner


def warnings_of(monkeypatch, function):
    said = []
    monkeypatch.setattr(
        MMLogger, 'callHandlers', lambda self, record: said.append((record.levelno, record.getMessage()))
    )
    function()
    return [text for level, text in said if level >= logging.WARNING]


# ---- schedules ----


@pytest.mark.parametrize('schedulers', [[WARMUP, COSINE], [WARMUP, STEPS], COSINE], ids=['cosine', 'steps', 'one'])
@pytest.mark.parametrize('accumulation', [1, 2])
def test_other_batch_size(tmp_path, schedulers, accumulation):
    """Killed at iteration 9 of 6 an epoch; with 3 an epoch it goes on with the second, as if it had been so before."""
    options = dict(schedulers=schedulers, accumulation=accumulation)
    rates(tmp_path / 'small', **options)
    whole, _ = rates(tmp_path / 'large', dataloader=dict(batch_size=4), **options)
    on, runner = rates(
        tmp_path / 'on', dataloader=dict(batch_size=4), resume_from=tmp_path / 'small/iter_9.pth', **options
    )
    assert on == {iteration: pytest.approx(rate) for iteration, rate in whole.items() if iteration > 3}
    assert runner.iter == 9 and runner.epoch == 3


def test_averages_are_as_old(tmp_path):
    """12 of 18 updates are 6 of 9."""
    options = dict(hooks=[dict(type='EMAHook', ema_type='StochasticWeightAverage')])
    build_runner(tmp_path / 'small', **options).train()
    assert load(tmp_path / 'small/iter_12.pth')['ema_state_dict']['steps'] == 12
    options['dataloader'] = dict(batch_size=4)
    build_runner(tmp_path / 'on', resume_from=tmp_path / 'small/iter_12.pth', **options).train()
    assert load(tmp_path / 'on/iter_7.pth')['ema_state_dict']['steps'] == 7


@pytest.mark.parametrize('length', [dict(epochs=3), dict(iterations=18)], ids=['epochs', 'iterations'])
def test_learning_rate_that_is_scaled_when_it_resumes(tmp_path, length):
    """``auto_scale_lr`` for batches of 1: twice the rate, from the position on."""
    more = dict(auto_scale_lr=dict(enable=True, base_batch_size=1))
    whole, _ = rates(tmp_path / 'whole', **length)
    on, _ = rates(tmp_path / 'on', resume_from=tmp_path / 'whole/iter_9.pth', more=more, **length)
    assert on == {iteration: pytest.approx(2 * rate) for iteration, rate in whole.items() if iteration > 9}
    again, _ = rates(tmp_path / 'again', resume_from=tmp_path / 'on/iter_12.pth', more=more, **length)
    assert again == {iteration: rate for iteration, rate in on.items() if iteration > 12}


@pytest.mark.parametrize('left_out', [['param_schedulers'], ['optimizer'], ['optimizer', 'param_schedulers']])
def test_checkpoint_without_schedulers_or_optimizer(tmp_path, monkeypatch, left_out):
    """The rate goes on all the same; that the optimizer starts again is said."""
    options = dict(schedulers=[WARMUP, COSINE])
    whole, _ = rates(tmp_path / 'whole', **options)
    content = torch.load(tmp_path / 'whole/iter_9.pth', weights_only=False)
    torch.save({key: value for key, value in content.items() if key not in left_out}, tmp_path / 'iter_9.pth')
    found = []
    said = warnings_of(
        monkeypatch,
        lambda: found.append(rates(tmp_path / 'on', resume_from=tmp_path / 'iter_9.pth', **options)[0]),
    )
    assert found[0] == {iteration: pytest.approx(rate) for iteration, rate in whole.items() if iteration > 9}
    assert any('has no state of the optimizer' in text for text in said) == ('optimizer' in left_out)


def test_a_schedule_of_the_metrics_cannot_be_computed(tmp_path):
    plateau = dict(type='ReduceOnPlateauLR', monitor='number', by_epoch=True)
    validation = with_validation()
    build_runner(tmp_path / 'small', schedulers=plateau, **validation).train()
    validation['dataloader'] = dict(batch_size=4)
    with pytest.raises(InputError, match=r'ReduceOnPlateau .* resume with as many processes, the same batch size'):
        build_runner(
            tmp_path / 'on', schedulers=plateau, resume_from=tmp_path / 'small/iter_9.pth', **validation
        ).train()


def test_other_accumulation(tmp_path, monkeypatch):
    """The gradients of a step of 4 that is half done are not taken into a step of 3."""
    build_runner(tmp_path / 'four', accumulation=4).train()
    assert 'gradients' in load(tmp_path / 'four/iter_6.pth')
    seen = []

    @HOOKS.register_module(force=True)
    class GradientSeen(Hook):
        priority = 'LOWEST'

        def before_train(self, runner):
            seen.append([parameter.grad is not None for parameter in runner.model.parameters()])

    options = dict(resume_from=tmp_path / 'four/iter_6.pth', hooks=[dict(type='GradientSeen')])
    said = warnings_of(monkeypatch, lambda: build_runner(tmp_path / 'on', accumulation=3, **options).train())
    build_runner(tmp_path / 'same', accumulation=4, **options).train()
    assert any('A step had 4 iterations, now it has 3' in text for text in said)
    assert not any(seen[0]) and all(seen[1])


# ---- validations ----


@METRICS.register_module()
class Number(BaseMetric):
    """Grows from one validation to the next, so that each is the best."""

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(number=len(results))


@HOOKS.register_module()
class ValidationRecorder(Hook):
    """Keeps where validations ended, and ends the process's training in one, as SIGKILL would."""

    def __init__(self, killed_at=None):
        self.done, self.killed_at = [], killed_at

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.killed_at:
            raise RuntimeError('killed')

    def after_val_epoch(self, runner, metrics=None):
        self.done.append(runner.iter)


def with_validation(**loop):
    loader = dict(dataset=dict(type='RandomNumbers'), batch_size=4, sampler=dict(type='DefaultSampler', shuffle=False))
    more = dict(val_dataloader=loader, val_cfg=dict(), val_evaluator=dict(type='Number'))
    return dict(more=more, loop=dict(val_interval=1, **loop), checkpoint=dict(save_best='number', rule='greater'))


LENGTHS = [(dict(epochs=3), dict(val_interval=1)), (dict(iterations=18), dict(val_interval=6))]


@pytest.mark.parametrize('killed_at', [6, 12, 18])
@pytest.mark.parametrize(('length', 'interval'), LENGTHS, ids=['epochs', 'iterations'])
def test_a_validation_that_did_not_end_is_made_up(tmp_path, length, interval, killed_at):
    options = dict(with_validation(), **length)
    options['loop'] = interval
    killed = ValidationRecorder(killed_at)
    with pytest.raises(RuntimeError, match='killed'):
        build_runner(tmp_path, hooks=[killed], **options).train()
    on = ValidationRecorder()
    build_runner(tmp_path, hooks=[on], resume_from=newest_whole_checkpoint(str(tmp_path)), **options).train()
    assert killed.done + on.done == [6, 12, 18]
    assert load(tmp_path / 'iter_18.pth')['meta']['iter'] == 18
    assert [path.name for path in tmp_path.glob('best_*')] != []


def test_a_validation_that_ended_is_not_repeated(tmp_path):
    """The checkpoint of the best is written after its validation."""
    options = dict(with_validation(), iterations=18)
    options['loop'] = dict(val_interval=6)
    options['checkpoint'] |= dict(interval=-1)
    build_runner(tmp_path, hooks=[ValidationRecorder()], **options).train()
    (best,) = tmp_path.glob('best_*')
    assert load(best)['meta']['iter'] == 6  # no later one was greater
    on = ValidationRecorder()
    build_runner(tmp_path / 'on', hooks=[on], resume_from=best, **options).train()
    assert on.done == [12, 18]


def test_a_signal_in_the_iteration_before_a_validation(tmp_path):
    options = dict(with_validation(), iterations=18)
    options['loop'] = dict(val_interval=6)
    options['checkpoint'] |= dict(interval=100)
    hooks = [dict(type='mmcnv2.PreemptionHook'), dict(type='SignalSender', number=signal.SIGTERM, iteration=18)]
    first, on = ValidationRecorder(), ValidationRecorder()
    runner = build_runner(tmp_path, hooks=[first, *hooks], **options)
    with pytest.raises(Preempted):
        runner.train()
    runner.hooks[-1]  # gives the signals back at the end of the test
    for hook in runner.hooks:
        if hasattr(hook, 'give_back_signals'):
            hook.give_back_signals()
    build_runner(tmp_path, hooks=[on, hooks[0]], resume_from=tmp_path / 'preempted.pth', **options).train()
    assert first.done + on.done == [6, 12, 18]
    assert not (tmp_path / 'preempted.pth').exists()
    last = tmp_path / 'last_checkpoint'
    assert not last.exists() or 'preempted' not in last.read_text()


def test_only_the_best_is_there(tmp_path):
    """``interval=-1`` with ``save_best``: where nothing else is, a run goes on from it."""
    options = dict(with_validation(), iterations=18)
    options['loop'] = dict(val_interval=6)
    options['checkpoint'] |= dict(interval=-1)
    build_runner(tmp_path, **options).train()
    (best,) = tmp_path.glob('best_*')
    for path in tmp_path.glob('iter_*'):
        path.unlink()
    assert newest_whole_checkpoint(str(tmp_path)) == str(best)
    content = torch.load(best, weights_only=False)
    torch.save(content | dict(meta=dict(iter=1)), tmp_path / 'iter_1.pth')
    assert newest_whole_checkpoint(str(tmp_path)) == str(tmp_path / 'iter_1.pth')  # it has the optimizer


@pytest.mark.parametrize('resumed_at', [6, 12], ids=['after the first', 'after the second'])
def test_early_stopping_goes_on_counting(tmp_path, resumed_at):
    """It stops at the third of four validations: none is greater by 100 than the first, and it waits for two."""
    options = dict(with_validation(), iterations=24)
    options['loop'] = dict(val_interval=6)

    def validations(name, **more):
        recorder = ValidationRecorder()
        stopping = dict(type='EarlyStoppingHook', monitor='number', rule='greater', min_delta=100, patience=2)
        build_runner(tmp_path / name, hooks=[recorder, stopping], **options, **more).train()
        return recorder.done

    assert validations('whole') == [6, 12, 18]
    start = tmp_path / f'whole/iter_{resumed_at + 1}.pth'  # its validations are behind it
    assert validations('on', resume_from=start) == list(range(resumed_at + 6, 19, 6))


def test_evaluations_draw_the_same_numbers(tmp_path):
    """In a validation, in that of a run that goes on, and in a test: FCMAE draws its masks then."""
    drawn = []

    class Drawing(Hook):
        priority = 'LOWEST'

        def before_val_iter(self, runner, batch_idx, data_batch=None):
            drawn.append((batch_idx, torch.rand(()).item()))

        before_test_iter = before_val_iter

    options = dict(with_validation(), iterations=12, hooks=[EvaluationSeedHook(), Drawing()])
    options['loop'] = dict(val_interval=6)
    more = options['more']
    more |= dict(test_dataloader=more['val_dataloader'], test_cfg=dict(), test_evaluator=more['val_evaluator'])
    runner = build_runner(tmp_path, **options)
    runner.train()
    runner.test()
    assert len(drawn) == 9 and len(set(drawn)) == 3  # three batches, twice validated and once tested
