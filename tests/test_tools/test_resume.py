"""A run that is killed again and again ends as one that was never stopped, bit for bit."""

import json
import signal
import sys

import pytest
from helpers.launching import environment
from helpers.processes import run
from helpers.small_run import differences, load

KILLS = 20
CONFIG = """
_base_ = '{root}/configs/toy/fcmae_convnextv2-atto_toy-scenes.py'
arch = dict(_delete_=True, depths=(1, 1, 1, 1), channels=(8, 16, 24, 32))
model = dict(backbone=dict(arch=arch, drop_path_rate=0.2))
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(data_root='{data}/unlabelled'))
# 8 iterations an epoch, a step every 2, a checkpoint every 3: most lie within an epoch and between two steps.
optim_wrapper = dict(accumulative_counts=2)
train_cfg = dict(max_epochs=16)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=3, max_keep_ckpts=3))
custom_hooks = [dict(type='EMAHook')]
"""
LAST = 'iter_128.pth'


@pytest.fixture(scope='module')
def start(root, toy_scenes, tmp_path_factory):
    """Trains to the end in a work dir, killed so many times on the way; returns the work dir and all exit codes."""
    folder = tmp_path_factory.mktemp('resume')

    def start(name, kills=0, config=CONFIG):
        (folder / 'config.py').write_text(config.format(root=root, data=toy_scenes))
        command = [sys.executable, 'tests/helpers/kill_and_resume.py', folder / 'config.py', folder / name, kills]
        done = run(root, *command, timeout=500)
        assert done.returncode == 0, done.stderr[-3000:]
        return folder / name, json.loads(done.stdout)

    return start


@pytest.fixture(scope='module')
def whole(start):
    """The work dir of a run that was never stopped."""
    work_dir, ends = start('whole')
    assert ends == [0]
    return work_dir


def test_killed_at_random_moments(start, whole):
    """Half of the time while it writes a checkpoint; then stopped by the signals of a cluster."""
    work_dir, ends = start('killed', KILLS)
    assert ends == [-signal.SIGKILL] * KILLS + [128 + signal.SIGTERM, 128 + signal.SIGUSR1, 0]
    logs = [log.read_text() for log in sorted(work_dir.glob('*/*.log'))]
    # It went on, not started anew, and from within epochs and between steps.
    resumed = [int(line.rsplit('iter: ')[1]) for log in logs for line in log.splitlines() if 'resumed epoch' in line]
    assert resumed == sorted(resumed) and resumed[-1] >= 30
    assert {iteration % 8 for iteration in resumed} - {0} and {iteration % 2 for iteration in resumed} == {0, 1}

    assert differences(load(whole / LAST), load(work_dir / LAST)) == []
    # Nothing half written is left, nor more checkpoints than the config keeps.
    left = sorted(path.name for path in work_dir.iterdir() if path.is_file())
    assert left == ['config.py', 'iter_123.pth', 'iter_126.pth', LAST, 'last_checkpoint']


def test_damaged_newest_checkpoint(start, whole):
    """A bit of a tensor is wrong in the newest, the one before is cut off: the third is taken."""
    work_dir = whole.parent / 'damaged'
    work_dir.mkdir()
    names = ['iter_123.pth', 'iter_126.pth', LAST]
    for name in names:
        content = bytearray((whole / name).read_bytes())
        if name == LAST:
            content[len(content) // 2] ^= 1
        (work_dir / name).write_bytes(content[: -1000 if name == 'iter_126.pth' else None])
    (work_dir / 'last_checkpoint').write_text(str(work_dir / LAST))
    _, ends = start('damaged')
    assert ends == [0]
    (log,) = work_dir.glob('*/*.log')
    assert 'resumed epoch: 15, iter: 123' in log.read_text()
    output = (whole.parent / 'damaged.log').read_text()
    assert f'Left out a damaged checkpoint: {work_dir / LAST} (checksum of ' in output
    assert f'Left out a damaged checkpoint: {work_dir}/iter_126.pth (File is not a zip file)' in output
    assert differences(load(whole / LAST), load(work_dir / LAST)) == []


DOWNSTREAM = """
_base_ = '{{root}}/configs/toy/{task}_convnextv2-atto_toy-scenes.py'
data = dict(dataset=dict(data_root='{{data}}'))
train_dataloader, val_dataloader = dict(batch_size=2, **data), data
train_cfg = dict(max_iters=6, val_interval=4)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=-1))
"""


@pytest.mark.parametrize('task', ['mask-rcnn', 'upernet'])
def test_downstream(start, task):
    config = DOWNSTREAM.format(task=task)
    whole, ends = start(task, config=config)
    assert ends == [0]
    work_dir = whole.with_name(f'{task}_from_3')
    work_dir.mkdir()
    (work_dir / 'iter_3.pth').write_bytes((whole / 'iter_3.pth').read_bytes())
    assert start(work_dir.name, config=config)[1] == [0]
    assert not (work_dir / 'iter_1.pth').exists()
    assert differences(load(whole / 'iter_6.pth'), load(work_dir / 'iter_6.pth')) == []


PREEMPTED = """
_base_ = 'fcmae.py'
custom_imports = dict(imports=['mmcnv2', 'helpers.small_run'], allow_failed_imports=False)
train_cfg = dict(max_epochs=4)
custom_hooks = [dict(type='SignalSender', number={number}, iteration=6, rank=1)]
"""


def test_two_processes(whole, root, toy_scenes):
    """One of them gets the signal, both stop. From a checkpoint between two steps they go on exactly."""
    folder = whole.parent
    (folder / 'fcmae.py').write_text(CONFIG.format(root=root, data=toy_scenes))
    (folder / 'signal.py').write_text(PREEMPTED.format(number=int(signal.SIGUSR1)))
    (folder / 'quiet.py').write_text("_base_ = 'signal.py'\ncustom_hooks = []\n")

    def train(config, work_dir, *arguments):
        command = ['tools/dist_train.sh', folder / f'{config}.py', '2', '--work-dir', folder / work_dir, *arguments]
        return run(root, *command, **environment(root))

    done = train('signal', 'two')
    assert done.returncode != 0
    assert f'stopped by SIGUSR1; saved {folder}/two/preempted.pth. Go on with --resume' in done.stderr
    assert load(folder / 'two/preempted.pth')['meta']['iter'] == 6
    for name in ('preempted.pth', 'iter_6.pth'):
        (folder / 'two' / name).unlink()
    assert 'gradients' in load(folder / 'two/iter_3.pth')

    for config, work_dir, arguments in [('quiet', 'two', ['--resume']), ('quiet', 'two_whole', [])]:
        done = train(config, work_dir, *arguments)
        assert done.returncode == 0, done.stderr[-3000:]
    (log,) = [log for log in (folder / 'two').glob('*/*.log') if 'resumed epoch' in log.read_text()]
    assert 'resumed epoch: 0, iter: 3' in log.read_text()
    assert differences(load(folder / 'two_whole/iter_16.pth'), load(folder / 'two/iter_16.pth')) == []
