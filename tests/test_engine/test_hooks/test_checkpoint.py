"""Checkpoints are written whole or not at all. (tests/test_tools/test_resume.py kills runs while they write.)"""

from pathlib import Path

import pytest
from helpers.small_run import build_runner
from helpers.training import load
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmcnv2.utils.errors import TrainingStopped


@HOOKS.register_module()
class DiskFullFrom(Hook):
    """Writing the checkpoint of that iteration meets the kernel's own 'No space left on device'."""

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            Path(runner.work_dir, f'.tmp.iter_{self.iteration}.pth').symlink_to('/dev/full')


@pytest.mark.parametrize('max_keep_ckpts', [1, 3])
def test_full_disk_leaves_the_checkpoints_before(max_keep_ckpts, tmp_path):
    options = dict(checkpoint=dict(max_keep_ckpts=max_keep_ckpts), hooks=[dict(type='DiskFullFrom', iteration=5)])
    with pytest.raises(TrainingStopped, match=r'cannot be written: .*No space left.*iter_5\.pth.*--resume'):
        build_runner(tmp_path, **options).train()
    kept = [f'iter_{i}.pth' for i in range(5 - max_keep_ckpts, 5)]
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == kept
    assert not list(tmp_path.glob('.*'))
    assert load(tmp_path / 'iter_4.pth')['meta']['iter'] == 4


def test_oldest_is_removed_after_the_newest_is_written(tmp_path):
    build_runner(tmp_path, epochs=1, checkpoint=dict(max_keep_ckpts=2)).train()
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['iter_5.pth', 'iter_6.pth']
    # A run that continues keeps as many, those from before included.
    build_runner(tmp_path, epochs=2, checkpoint=dict(max_keep_ckpts=2), resume_from=tmp_path / 'iter_5.pth').train()
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['iter_11.pth', 'iter_12.pth']


def test_left_overs_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / '.tmp.iter_3.pth').write_bytes(b'half')
    (tmp_path / '.other').write_bytes(b'not ours')
    build_runner(tmp_path, epochs=1, checkpoint=dict(interval=-1)).train()
    assert [path.name for path in tmp_path.glob('.*')] == ['.other']


def test_gradients_are_kept_between_steps_only(tmp_path):
    build_runner(tmp_path, epochs=1, accumulation=3).train()
    has = [iteration for iteration in range(1, 7) if 'gradients' in load(tmp_path / f'iter_{iteration}.pth')]
    assert has == [1, 2, 4, 5]
    first, second = (load(tmp_path / f'iter_{iteration}.pth')['gradients'][0] for iteration in (1, 2))
    assert first.any() and not second.equal(first)
