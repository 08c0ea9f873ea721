"""A run that is killed again and again ends as one that was never stopped, bit for bit."""

import json
import signal
import sys

import pytest
import torch
from helpers.launching import launch, launch_forked, succeeded
from helpers.processes import run_forked
from helpers.small_run import differences
from helpers.training import load

CONFIG = """
_base_ = '{root}/configs/toy/fcmae_convnextv2-atto_toy-scenes.py'
arch = dict(_delete_=True, depths=(1, 1, 1, 1), channels=(8, 16, 24, 32))
model = dict(backbone=dict(arch=arch, drop_path_rate=0.2))
train_dataloader = dict(batch_size=2, num_workers=2, dataset=dict(data_root='{data}/unlabelled'))
# 8 iterations an epoch, a step every 2, a checkpoint every 3: most lie within an epoch and between two steps.
optim_wrapper = dict(accumulative_counts=2)
train_cfg = dict(max_epochs=9)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=3, max_keep_ckpts=3))
custom_hooks = [dict(type='EMAHook')]
"""
LAST = 'iter_72.pth'
# A moment, in iterations since the start or while a checkpoint is written, and the signal that comes then.
STOPS = (
    *('4:SIGKILL', 'saving:SIGKILL', '7:SIGKILL', 'saving:SIGKILL'),
    *('5:SIGTERM', 'saving:SIGTERM', '2:SIGUSR1', '3:SIGINT'),
)


@pytest.fixture(scope='module')
def folder(root, toy_scenes, tmp_path_factory):
    """A folder with the config."""
    folder = tmp_path_factory.mktemp('resume')
    (folder / 'fcmae.py').write_text(CONFIG.format(root=root, data=toy_scenes))
    return folder


@pytest.fixture(scope='module')
def whole(root, folder):
    """The work dir of a run that was never stopped."""
    launch_forked(root, 'tools/train.py', folder / 'fcmae.py', '--work-dir', folder / 'whole', '--resume')
    return folder / 'whole'


def test_killed_and_stopped(root, folder, whole):
    """Within an epoch, between two steps, while a checkpoint is written; then by the signals of a cluster."""
    work_dir = folder / 'killed'
    command = [sys.executable, 'tests/helpers/kill_and_resume.py', folder / 'fcmae.py', work_dir, *STOPS]
    ends = json.loads(launch(root, *command).stdout)
    asked = (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    assert ends == [-signal.SIGKILL] * 4 + [128 + number for number in asked] + [0]
    logs = [log.read_text() for log in sorted(work_dir.glob('*/*.log'))]
    # It went on, not started anew, and from within epochs and between steps.
    resumed = [int(line.rsplit('iter: ')[1]) for log in logs for line in log.splitlines() if 'resumed epoch' in line]
    assert resumed == sorted(resumed) and resumed[-1] >= 14
    assert any(iteration % 8 and iteration % 2 for iteration in resumed)

    assert differences(load(whole / LAST), load(work_dir / LAST)) == []
    # Nothing half written is left, nor more checkpoints than the config keeps.
    left = sorted(path.name for path in work_dir.iterdir() if path.is_file())
    assert left == ['curves.png', 'fcmae.py', 'iter_66.pth', 'iter_69.pth', LAST, 'last_checkpoint']


def test_damaged_newest_checkpoint(root, folder, whole):
    """A bit of a tensor is wrong in the newest, the one before is cut off: the third is taken."""
    work_dir = folder / 'damaged'
    work_dir.mkdir()
    names = ['iter_66.pth', 'iter_69.pth', LAST]
    for name in names:
        content = bytearray((whole / name).read_bytes())
        if name == LAST:
            content[len(content) // 2] ^= 1
        (work_dir / name).write_bytes(content[: -1000 if name == 'iter_69.pth' else None])
    (work_dir / 'last_checkpoint').write_text(str(work_dir / LAST))
    done = launch_forked(root, 'tools/train.py', folder / 'fcmae.py', '--work-dir', work_dir, '--resume')
    (log,) = work_dir.glob('*/*.log')
    assert 'resumed epoch: 8, iter: 66' in log.read_text()
    output = done.stdout + done.stderr
    assert f'Left out a damaged checkpoint: {work_dir / LAST} (checksum of ' in output
    assert f'Left out a damaged checkpoint: {work_dir}/iter_69.pth (File is not a zip file)' in output
    assert differences(load(whole / LAST), load(work_dir / LAST)) == []


DOWNSTREAM = """
_base_ = '{root}/configs/toy/{task}_convnextv2-atto_toy-scenes.py'
data = dict(dataset=dict(data_root='{data}'))
train_dataloader, val_dataloader = dict(batch_size=2, **data), data
train_cfg = dict(max_iters=4, val_interval=3)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=-1))
"""


IN_VALIDATION = """
_base_ = 'upernet.py'
custom_imports = dict(imports=['mmcnv2', 'helpers.small_run'], allow_failed_imports=False)
val_dataloader = dict(batch_size=1, num_workers=1)
custom_hooks = [dict(type='EMAHook'), dict(type='SignalSender', number={number}, validation=2)]
"""


def test_signal_to_all_within_a_validation(root, folder, toy_scenes):
    """It does not wait for the rest, saves the weights in training, not their averages, and goes on exactly."""
    (folder / 'upernet.py').write_text(DOWNSTREAM.format(task='upernet', root=root, data=toy_scenes))
    (folder / 'stopped.py').write_text(IN_VALIDATION.format(number=int(signal.SIGTERM)))
    (folder / 'on.py').write_text("_base_ = 'upernet.py'\ncustom_hooks = [dict(type='EMAHook')]\n")
    work_dir, whole = folder / 'in_validation', folder / 'with_averages'
    done = run_forked(root, 'tools/train.py', folder / 'stopped.py', '--work-dir', work_dir)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr[-3000:]
    assert 'The validation is left out' in done.stdout + done.stderr
    assert ' mIoU: ' not in done.stdout + done.stderr
    assert load(work_dir / 'preempted.pth')['meta']['iter'] == 3
    for path in work_dir.glob('iter_*.pth'):
        path.unlink()
    launch_forked(root, 'tools/train.py', folder / 'on.py', '--work-dir', work_dir, '--resume')
    launch_forked(root, 'tools/train.py', folder / 'on.py', '--work-dir', whole)
    assert differences(load(whole / 'iter_4.pth'), load(work_dir / 'iter_4.pth')) == []


@pytest.mark.parametrize('task', ['mask-rcnn', 'upernet'])
def test_downstream(root, folder, toy_scenes, task):
    config, whole, resumed = (folder / name for name in (f'{task}.py', task, f'{task}_from_2'))
    config.write_text(DOWNSTREAM.format(task=task, root=root, data=toy_scenes))
    launch_forked(root, 'tools/train.py', config, '--work-dir', whole)
    resumed.mkdir()
    (resumed / 'iter_2.pth').write_bytes((whole / 'iter_2.pth').read_bytes())
    launch_forked(root, 'tools/train.py', config, '--work-dir', resumed, '--resume')
    assert not (resumed / 'iter_1.pth').exists()
    assert differences(load(whole / 'iter_4.pth'), load(resumed / 'iter_4.pth')) == []


BFLOAT16 = """
_base_ = 'fcmae.py'
optim_wrapper = dict(type='mmcnv2.BFloat16OptimWrapper')
train_cfg = dict(max_epochs=1)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1))
"""


def test_in_bfloat16(root, folder):
    """--amp takes the wrapper as it is; weights and the state of the optimizer are float32."""
    (folder / 'bfloat16.py').write_text(BFLOAT16)
    whole, resumed = folder / 'bfloat16', folder / 'bfloat16_from_3'
    done = launch_forked(root, 'tools/train.py', folder / 'bfloat16.py', '--work-dir', whole, '--amp')
    assert 'mixed precision: bfloat16 on ' in done.stdout + done.stderr
    resumed.mkdir()
    (resumed / 'iter_3.pth').write_bytes((whole / 'iter_3.pth').read_bytes())
    launch_forked(root, 'tools/train.py', folder / 'bfloat16.py', '--work-dir', resumed, '--resume', '--amp')
    assert not (resumed / 'iter_2.pth').exists()
    last = load(whole / 'iter_8.pth')
    assert differences(last, load(resumed / 'iter_8.pth')) == []
    assert {value.dtype for value in last['state_dict'].values()} == {torch.float32}


PREEMPTED = """
_base_ = 'fcmae.py'
custom_imports = dict(imports=['mmcnv2', 'helpers.small_run'], allow_failed_imports=False)
train_cfg = dict(max_epochs=3)
custom_hooks = [dict(type='SignalSender', number={number}, iteration=6, rank=1)]
"""


def test_two_processes(root, folder):
    """One of them gets the signal, both stop. From a checkpoint between two steps they go on exactly."""
    (folder / 'signal.py').write_text(PREEMPTED.format(number=int(signal.SIGUSR1)))
    (folder / 'quiet.py').write_text("_base_ = 'signal.py'\ncustom_hooks = []\n")

    def train(config, work_dir, *arguments):
        command = ['tools/train.py', folder / f'{config}.py', '--work-dir', folder / work_dir, *arguments]
        return run_forked(root, *command, processes=2)

    done = train('signal', 'two')
    assert done.returncode == 128 + signal.SIGUSR1
    assert f'stopped by SIGUSR1; saved {folder}/two/preempted.pth. Go on with --resume' in done.stderr
    assert load(folder / 'two/preempted.pth')['meta']['iter'] == 6
    for name in ('preempted.pth', 'iter_6.pth'):
        (folder / 'two' / name).unlink()
    assert 'gradients' in load(folder / 'two/iter_3.pth')

    for config, work_dir, arguments in [('quiet', 'two', ['--resume']), ('quiet', 'two_whole', [])]:
        succeeded(train(config, work_dir, *arguments))
    (log,) = [log for log in (folder / 'two').glob('*/*.log') if 'resumed epoch' in log.read_text()]
    assert 'resumed epoch: 0, iter: 3' in log.read_text()
    assert differences(load(folder / 'two_whole/iter_12.pth'), load(folder / 'two/iter_12.pth')) == []
