"""The training loops go on exactly where a run was stopped, and what is random does not depend on who reads it."""

import re
import sys

import pytest
import torch
from helpers.processes import run
from helpers.small_run import build_runner, differences
from helpers.training import load
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, HOOKS
from torch.utils.data import BatchSampler


@HOOKS.register_module()
class BatchRecorder(Hook):
    """Keeps the inputs and the loss of every iteration."""

    def __init__(self):
        self.inputs, self.losses = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.inputs.append(torch.stack(data_batch['inputs']))
        self.losses.append(outputs['loss'].item())


def record(work_dir, **kwargs):
    recorder = BatchRecorder()
    build_runner(work_dir, hooks=[recorder], **kwargs).train()
    return recorder


LENGTH = [dict(epochs=3), dict(iterations=18)]  # 18 iterations either way
LAST = 'iter_18.pth'


@pytest.mark.parametrize('length', LENGTH)
@pytest.mark.parametrize('accumulation', [1, 4])
def test_going_on_from_any_iteration_is_exact(length, accumulation, tmp_path):
    """From the middle of an epoch, from its end, and between two steps of accumulation."""
    options = dict(length, accumulation=accumulation, hooks=[dict(type='EMAHook')])
    build_runner(tmp_path / 'whole', **options).train()
    whole = load(tmp_path / 'whole' / LAST)
    for iteration in (1, 5, 6, 7, 12, 17):
        build_runner(tmp_path / 'on', resume_from=tmp_path / f'whole/iter_{iteration}.pth', **options).train()
        assert differences(whole, load(tmp_path / 'on' / LAST)) == []


def test_differences_are_seen(tmp_path):
    """The comparison above is not blind: another seed gives other weights."""
    build_runner(tmp_path / '0', epochs=1).train()
    build_runner(tmp_path / '1', epochs=1, randomness=dict(seed=1)).train()
    assert '.state_dict.layers.0.weight' in differences(
        load(tmp_path / '0/iter_6.pth'), load(tmp_path / '1/iter_6.pth')
    )


def test_seed_of_the_checkpoint_is_taken_up(tmp_path):
    """Where a config has none, MMEngine draws one and writes it to the checkpoint."""
    build_runner(tmp_path / 'whole', randomness=dict(seed=5)).train()
    build_runner(tmp_path / 'on', randomness=dict(seed=6), resume_from=tmp_path / 'whole/iter_4.pth').train()
    assert differences(load(tmp_path / 'whole' / LAST), load(tmp_path / 'on' / LAST)) == []


def test_seed_of_each_process_is_not_that_of_the_order(tmp_path):
    """With ``diff_rank_seed`` processes draw other masks, but must deal out one order."""
    options = dict(epochs=1, randomness=dict(diff_rank_seed=True))
    inputs = torch.cat(record(tmp_path, **options).inputs)
    assert sorted((inputs[:, 0] * 10).round().int().tolist()) == list(range(12))
    runner = build_runner(tmp_path, **options)
    runner.train()
    assert (
        runner.train_loop.dataloader.sampler.seed == runner.train_loop.dataloader.sampler.sampler.seed != runner.seed
    )


@pytest.mark.slow
@pytest.mark.parametrize(('length', 'num_workers'), [(LENGTH[0], 2), (LENGTH[1], 1)])
def test_samples_do_not_depend_on_workers(length, num_workers, tmp_path):
    alone = record(tmp_path / 'none', **length)
    workers = record(tmp_path / 'some', **length, dataloader=dict(num_workers=num_workers, persistent_workers=True))
    assert torch.equal(torch.stack(alone.inputs), torch.stack(workers.inputs))
    assert alone.losses == workers.losses


def test_random_numbers_differ_everywhere(tmp_path):
    """Of each sample in each epoch: three numbers that the dataset drew from three generators."""
    inputs = torch.cat(record(tmp_path, epochs=3).inputs)
    assert inputs.shape == (36, 4)
    assert sorted((inputs[:, 0] * 10).round().int().tolist()) == sorted([*range(12)] * 3)
    assert len(inputs[:, 1:].flatten().unique()) == 36 * 3


@DATA_SAMPLERS.register_module()
class PairsOfOneParity(BatchSampler):
    """Batches of even or of odd indices, as mmdet has them of wide or of high images."""

    def __iter__(self):
        waiting = {0: [], 1: []}
        for index in self.sampler:
            waiting[index % 2].append(index)
            if len(waiting[index % 2]) == self.batch_size:
                yield waiting[index % 2]
                waiting[index % 2] = []


def test_custom_batch_sampler_goes_on_too(tmp_path):
    """It takes indices in an order of its own: only its batches can be counted."""
    options = dict(dataloader=dict(batch_sampler=dict(type='PairsOfOneParity', drop_last=False)))
    build_runner(tmp_path / 'whole', **options).train()
    build_runner(tmp_path / 'on', resume_from=tmp_path / 'whole/iter_8.pth', **options).train()
    assert differences(load(tmp_path / 'whole' / LAST), load(tmp_path / 'on' / LAST)) == []


def test_epoch_of_another_length_starts_anew(tmp_path):
    """Iteration 8 was the second of epoch 2; with another batch size that place means nothing."""
    build_runner(tmp_path / 'whole').train()
    recorder = BatchRecorder()
    runner = build_runner(
        tmp_path / 'on', resume_from=tmp_path / 'whole/iter_8.pth', dataloader=dict(batch_size=3), hooks=[recorder]
    )
    runner.train()
    assert len(recorder.losses) == 8  # epochs 2 and 3 of 4 iterations each
    assert runner.iter == 12


def test_finite_sampler_cannot_count_iterations(tmp_path):
    options = dict(iterations=4, dataloader=dict(sampler=dict(type='DefaultSampler')))
    with pytest.raises(ValueError, match=r'train_dataloader.sampler must be an InfiniteSampler.*got DefaultSampler'):
        build_runner(tmp_path, **options).train()


DEATH = """
import sys
from mmcnv2.utils.errors import TrainingStopped
from helpers.small_run import build_runner
options = dict(dataloader=dict(num_workers=1, persistent_workers=True), dataset=dict(length=200))
runner = build_runner(sys.argv[1], epochs=1, hooks=[dict(type='WorkerKiller')], **options)
try:
    runner.train()
except TrainingStopped as stop:
    print(stop, flush=True)
"""


@pytest.mark.slow
def test_death_of_a_worker_is_explained(root, tmp_path):
    """In a process of its own: torch's handler may raise its error a second time, anywhere."""
    done = run(root, sys.executable, '-c', DEATH, tmp_path)
    expected = r'a worker of train_dataloader was killed by SIGKILL. .*memory is short.* were reading '
    assert re.search(expected, done.stdout.splitlines()[-1]), done.stderr[-2000:]
    assert (tmp_path / 'iter_2.pth').is_file()
