"""Signals do not reach the workers of data loaders, none is left over, and the death of one is explained."""

import faulthandler
import gc
import multiprocessing
import os
import signal
import sys
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from helpers.processes import run
from helpers.small_run import build_runner
from helpers.worker_data import Pids, user_init_fn
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from mmcnv2.resuming import workers
from mmcnv2.resuming.workers import SIGNALS, death_of_worker, protect_workers


@pytest.mark.slow
@pytest.mark.parametrize(
    ('method', 'options'),
    [
        (None, dict(num_workers=2, pin_memory=True)),
        ('fork', dict(num_workers=1, persistent_workers=True)),
        ('spawn', dict(num_workers=1)),
        ('forkserver', dict(num_workers=1)),
    ],
)
def test_signals_do_not_reach_workers(method, options):
    loader = DataLoader(Pids(), multiprocessing_context=method, worker_init_fn=user_init_fn, **options)
    protect_workers(loader, 'val_dataloader')
    batches = iter(loader)
    seen = [next(batches)[0]]
    for pid in [worker.pid for worker in batches._workers]:
        for number in SIGNALS:
            os.kill(pid, number)
    seen += [batch[0] for batch in batches]
    pids, is_set = torch.stack(seen).T.tolist()
    assert len(set(pids)) == options['num_workers'] and os.getpid() not in pids
    assert set(is_set) == set(range(7, 7 + options['num_workers']))


def test_no_workers_need_no_protection():
    loader = DataLoader(Pids())
    protect_workers(loader, 'val_dataloader')
    assert len(list(loader)) == 40


@pytest.mark.slow
def test_worker_that_hangs_is_ended():
    """Torch waits five seconds, then sends SIGTERM, which a worker does not get."""
    dataset = Pids()
    dataset.hangs = 1
    loader = DataLoader(dataset, num_workers=1)
    protect_workers(loader, 'train_dataloader')
    batches = iter(loader)
    next(batches)
    (worker,) = batches._workers
    del batches
    gc.collect()
    worker.join(5)
    assert worker.exitcode == -signal.SIGKILL
    assert death_of_worker(EOFError()) is None  # it did not die by itself


class FailingHook(Hook):
    """Fails in the eighth iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 7:
            raise ValueError('too late')


@pytest.mark.parametrize(
    ('length', 'persistent', 'fails'),
    [
        (dict(epochs=2), True, False),
        (dict(epochs=2), True, True),
        (dict(iterations=12), True, False),
        (dict(iterations=12), False, True),
    ],
)
def test_no_worker_outlives_a_training(length, persistent, fails, tmp_path):
    """Nor those of its validations, while the runner, and so the loaders, are still there."""
    before = set(multiprocessing.active_children())
    workers_of = dict(num_workers=1, persistent_workers=persistent)
    validation = dict(dataset=dict(type='RandomNumbers'), sampler=dict(type='DefaultSampler', shuffle=False))
    runner = build_runner(
        tmp_path,
        **length,
        dataloader=workers_of,
        loop=dict(val_interval=1 if 'epochs' in length else 6),
        more=dict(val_dataloader=validation | workers_of, val_cfg=dict(), val_evaluator=Evaluator([])),
        hooks=[FailingHook()] if fails else [],
    )
    with pytest.raises(ValueError, match='too late') if fails else nullcontext():
        runner.train()
    assert runner.message_hub.get_info('validated_iter') == (6 if fails else 12) and runner.val_loop is not None
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.slow
def test_the_program_ends_in_silence(root):
    """Persistent workers of two loaders are alive when it ends; torch took their end for a fault."""
    code = """
from torch.utils.data import DataLoader
from mmcnv2.resuming.workers import protect_workers
loaders = [DataLoader(range(8), num_workers=2, persistent_workers=True) for _ in range(3)]
for loader in loaders:
    protect_workers(loader, 'val_dataloader')
    next(iter(loader))
"""
    done = run(root, sys.executable, '-c', code)
    assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr


def die(number):
    faulthandler.disable()  # that of pytest
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ('end', 'message'),
    [
        (partial(die, signal.SIGKILL), 'was killed by SIGKILL. The kernel does this where memory'),
        (partial(die, signal.SIGBUS), 'was killed by SIGBUS. The shared memory, /dev/shm, is full'),
        (partial(die, signal.SIGSEGV), 'was killed by SIGSEGV. A library crashed'),
        (partial(die, signal.SIGABRT), 'was killed by SIGABRT'),
        (partial(os._exit, 3), 'ended with exit code 3'),
    ],
)
def test_death_of_a_worker_names_the_signal(end, message, monkeypatch):
    monkeypatch.setattr(workers, '_started', set())
    worker = workers._Fork().Process(target=end, name='a worker of val_dataloader')
    worker.start()
    for error in (RuntimeError('DataLoader worker (pid 5) is killed'), ConnectionResetError(), EOFError()):
        assert death_of_worker(error).startswith(f'a worker of val_dataloader {message}')
    assert death_of_worker(RuntimeError('shapes do not match')) is None
