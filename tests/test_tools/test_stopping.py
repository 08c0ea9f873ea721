"""Signals to a launcher and all of its processes, and before there is anything to save."""

import os
import signal
import subprocess
import time

import pytest
from helpers.processes import environment, free_port, run_forked
from helpers.training import load

CONFIG = """
_base_ = '{root}/configs/toy/fcmae_convnextv2-atto_toy-scenes.py'
arch = dict(_delete_=True, depths=(1, 1, 1, 1), channels=(8, 16, 24, 32))
model = dict(backbone=dict(arch=arch))
train_dataloader = dict(batch_size=1, num_workers=1, dataset=dict(data_root='{data}/unlabelled'))
train_cfg = dict(max_epochs=10000)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=-1))
custom_hooks = []
"""


def test_dist_train(root, toy_scenes, tmp_path):
    """As ``timeout`` and slurm do it. Torchrun, which gets SIGTERM, too, sends it once more."""
    config, work_dir, output = (tmp_path / name for name in ('fcmae.py', 'run', 'output'))
    config.write_text(CONFIG.format(root=root, data=toy_scenes))
    env = {**os.environ, **environment(root), 'PORT': free_port()}
    command = ['tools/dist_train.sh', config, '2', '--work-dir', work_dir]
    with open(output, 'w') as file:
        launcher = subprocess.Popen(command, cwd=root, env=env, stdout=file, stderr=file, start_new_session=True)
    while 'Epoch(train)' not in output.read_text() and launcher.poll() is None:
        time.sleep(0.05)
    os.killpg(launcher.pid, signal.SIGTERM)
    assert launcher.wait(100) != 0
    saved = work_dir / 'preempted.pth'
    assert output.read_text().count(f'stopped by SIGTERM; saved {saved}. Go on with --resume') == 2
    assert load(saved)['meta']['iter'] >= 1
    with pytest.raises(ProcessLookupError):  # no worker is left over
        for _ in range(100):
            os.killpg(launcher.pid, 0)
            time.sleep(0.05)


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_before_the_training(root, toy_scenes, tmp_path, number, code):
    config = tmp_path / 'fcmae.py'
    start = f'import os\nos.kill(os.getpid(), {int(number)})\n'
    config.write_text(start + CONFIG.format(root=root, data=toy_scenes))
    done = run_forked(root, 'tools/train.py', config, '--work-dir', tmp_path / 'run')
    assert done.returncode == code
    assert 'Traceback' not in done.stderr
    assert ('error: stopped by SIGINT' in done.stderr) == (number == signal.SIGINT)
    assert not (tmp_path / 'run').exists()
