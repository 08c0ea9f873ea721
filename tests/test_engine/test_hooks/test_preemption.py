"""A signal: the step is finished, a checkpoint saved, the run stopped; then it continues exactly."""

import signal
import time

import pytest
from helpers.small_run import build_runner, differences
from helpers.training import load

from mmcnv2.engine import Preempted, PreemptionHook
from mmcnv2.resuming.workers import SIGNALS


def preempt(work_dir, number, iteration, **options):
    hooks = [dict(type='mmcnv2.PreemptionHook'), dict(type='SignalSender', number=number, iteration=iteration)]
    build_runner(work_dir, hooks=hooks, checkpoint=dict(interval=-1), **options).train()


@pytest.fixture(autouse=True)
def handlers():
    """The handlers of this process, which a stopped run leaves changed: it is about to end."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize('number', SIGNALS)
@pytest.mark.parametrize('length', [dict(epochs=3), dict(iterations=18)])
@pytest.mark.parametrize(('accumulation', 'iteration', 'saved'), [(1, 5, 5), (1, 6, 6), (3, 4, 6), (3, 6, 6)])
def test_signal_saves_and_stops(number, length, accumulation, iteration, saved, tmp_path):
    """With accumulation it waits for the step; iteration 6 is the last of an epoch."""
    options = dict(length, accumulation=accumulation)
    path = tmp_path / 'run/preempted.pth'
    with pytest.raises(Preempted, match=f'stopped by {number.name}; saved {path}. Go on with --resume') as stop:
        preempt(tmp_path / 'run', number, iteration, **options)
    assert stop.value.signal_number == number
    assert load(path)['meta']['iter'] == saved

    build_runner(tmp_path / 'on', resume_from=path, **options).train()
    build_runner(tmp_path / 'whole', **options).train()
    assert differences(load(tmp_path / 'whole/iter_18.pth'), load(tmp_path / 'on/iter_18.pth')) == []


def test_end_of_a_run_puts_things_back(handlers, tmp_path):
    (tmp_path / 'preempted.pth').write_bytes(b'what the run went on from')
    preempt(tmp_path, signal.SIGUSR1, iteration=999)
    assert not (tmp_path / 'preempted.pth').exists()
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_second_signal(monkeypatch):
    """Of ``timeout`` and torchrun it comes at once, of a person who will not wait after a while."""
    hook = PreemptionHook()
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGINT):
        hook._receive(number, None)
        assert hook._received == number
    later = time.monotonic() + 2
    monkeypatch.setattr('time.monotonic', lambda: later)
    hook._receive(signal.SIGTERM, None)
    with pytest.raises(KeyboardInterrupt):
        hook._receive(signal.SIGINT, None)
