"""Several processes (gloo, on the CPU), started through the scripts as a user starts them."""

import os
import re
import subprocess
import sys

import cv2
import pytest
import torch
from helpers.launching import launch, launch_forked, launch_with_slurm, ports
from helpers.models import error
from helpers.processes import environment
from helpers.training import load, scalars
from mmengine.config import Config
from mmengine.registry import MODELS

# What equality takes: masks and images that do not depend on the process. With a large eps, a step of AdamW keeps some
# of the gradient's scale: a sum in place of a mean, which Adam would hide, shows (as 0.7 where 1e-4 is allowed).
FCMAE = """
_base_ = '{root}/configs/toy/fcmae_convnextv2-atto_toy-scenes.py'
custom_imports = dict(imports=['mmcnv2', 'helpers.content_masks'])
model = dict(type='FCMAEWithMasksOfImages')
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root='{data}/unlabelled/',
        pipeline=[dict(type='LoadRGBImage'), dict(type='Resize', scale=(96, 96)), dict(type='PackUnlabelled')],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3, eps=1e-5))
param_scheduler = None
train_cfg = dict(max_epochs=6)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=3, max_keep_ckpts=2))
custom_hooks = [dict(type='mmcnv2.ReconstructionHook', interval=3)]
"""
HALF = 'train_dataloader.batch_size=4'
SHARDED = ['runner_type=FlexibleRunner', 'strategy.type=mmcnv2.FSDPStrategy']
FSDP = [HALF, *SHARDED]


@pytest.fixture(scope='module')
def fcmae(root, toy_scenes, tmp_path_factory):
    """A config: 12 steps of 8 images."""
    path = tmp_path_factory.mktemp('configs') / 'fcmae.py'
    path.write_text(FCMAE.format(root=root, data=toy_scenes))
    return path


def weights(work_dir, epoch=6):
    return load(work_dir / f'epoch_{epoch}.pth')['state_dict']


def distance(a, b):
    assert a.keys() == b.keys()
    return float(sum((a[key].double() - b[key].double()).square().sum() for key in a).sqrt())


@pytest.fixture(scope='module')
def one_process(root, fcmae, tmp_path_factory):
    """The work dir of a run in one process, with which the others are compared."""
    work_dir = tmp_path_factory.mktemp('one_process')
    launch_forked(root, 'tools/train.py', fcmae, '--work-dir', work_dir)
    return work_dir


def assert_same_weights(work_dir, one_process):
    """Measured: 2e-6 of the way that the weights went in the second half of the training, here and below."""
    expected = weights(one_process)
    assert distance(weights(work_dir), expected) < 1e-4 * distance(weights(one_process, 3), expected)


def test_two_machines(root, fcmae, one_process, tmp_path):
    """Two machines with a process each: 12 steps with 4 images in either are those with 8 in one."""
    command = [root / 'tools/dist_train.sh', fcmae, '1', '--work-dir', tmp_path, '--cfg-options', HALF]
    env = dict(ports(), NNODES='2', MASTER_ADDR='127.0.0.1')
    second_env = {**os.environ, **environment(root), **env, 'NODE_RANK': '1'}
    second = subprocess.Popen([*map(str, command)], cwd=root, env=second_env, stdout=subprocess.DEVNULL)
    try:
        launch(root, *command, **env, NODE_RANK='0')
        assert second.wait(timeout=60) == 0
    finally:
        second.kill()
    assert_same_weights(tmp_path, one_process)
    assert (tmp_path / 'reconstructions/epoch_6.png').is_file()


def test_accumulation(root, fcmae, one_process, tmp_path):
    """Two iterations of 4 images are a step of 8."""
    options = ['--cfg-options', HALF, 'optim_wrapper.accumulative_counts=2']
    launch_forked(root, 'tools/train.py', fcmae, '--work-dir', tmp_path, *options)
    assert len(scalars(tmp_path)) == 24
    assert_same_weights(tmp_path, one_process)


@pytest.fixture(scope='module')
def fsdp(root, fcmae, tmp_path_factory):
    """The work dir of a run with parameters sharded between two processes."""
    work_dir = tmp_path_factory.mktemp('fsdp')
    launch(root, 'tools/dist_train.sh', fcmae, 2, '--work-dir', work_dir, '--cfg-options', *FSDP)
    return work_dir


def test_fsdp(fsdp, one_process):
    """Sharded or not, the weights are the same; so is the optimizer's state, and what gets weight decay."""
    assert_same_weights(fsdp, one_process)
    sharded, whole = (load(path / 'epoch_6.pth') for path in (fsdp, one_process))
    names = list(whole['state_dict'])
    state, expected = (checkpoint['optimizer'] for checkpoint in (sharded, whole))
    assert state['state'].keys() == set(names) and len(state['param_groups']) == len(names)
    decays = 0
    for group, expected_group in zip(state['param_groups'], expected['param_groups'], strict=True):
        (name,), (index,) = group['params'], expected_group['params']
        assert group['weight_decay'] == expected_group['weight_decay'], name
        decays += group['weight_decay'] > 0
        for key in ('exp_avg', 'exp_avg_sq'):
            assert error(state['state'][name][key], expected['state'][index][key]) < 1e-4, name
    # Atto: 12 blocks of 3 weights, stem, 3 downsampling layers; the decoder's block, projection and prediction.
    assert decays == 12 * 3 + 4 + 3 + 2


def test_fsdp_draws_the_same_pictures(fsdp, one_process):
    assert {path.name for path in (fsdp / 'reconstructions').iterdir()} == {'epoch_3.png', 'epoch_6.png'}
    for name in ('epoch_3.png', 'epoch_6.png'):
        a, b = (cv2.imread(str(path / 'reconstructions' / name)).astype(int) for path in (fsdp, one_process))
        assert abs(a - b).max() <= 1


def test_fsdp_checkpoint_is_a_backbone(fsdp):
    init_cfg = dict(type='Pretrained', checkpoint=str(fsdp / 'epoch_6.pth'), prefix='backbone.')
    backbone = MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch='atto', init_cfg=init_cfg))
    backbone.init_weights()
    trained = weights(fsdp)
    own = {key: value for key, value in backbone.state_dict().items() if not key.startswith('norm')}
    assert len(own) == 136
    assert all(torch.equal(value, trained[f'backbone.{key}']) for key, value in own.items())


def test_fsdp_checkpoint_is_evaluated(root, fcmae, toy_scenes, fsdp, one_process, tmp_path):
    """tools/test.py in one process, with the config of the sharded training, gives the error of the unsharded one."""
    data = f'test_dataloader.dataset.data_root={toy_scenes}/val/'
    errors = []
    for work_dir, options in ((fsdp, SHARDED), (one_process, [])):
        command = ['tools/test.py', fcmae, work_dir / 'epoch_6.pth', '--work-dir', tmp_path]
        output = launch_forked(root, *command, '--cfg-options', data, *options).stdout
        errors.append(float(re.search(r'fcmae/reconstruction_error: ([\d.]+)', output)[1]))
    assert 0.5 < errors[0] < 1.5
    assert errors[0] == pytest.approx(errors[1], abs=1e-4)


def test_fsdp_resumes(root, fcmae, fsdp, tmp_path):
    arguments = ['--work-dir', tmp_path, '--resume', fsdp / 'epoch_3.pth', '--cfg-options', *FSDP]
    launch_forked(root, 'tools/train.py', fcmae, *arguments, processes=2)
    assert [record['step'] for record in scalars(tmp_path)] == list(range(7, 13))
    assert_same_weights(tmp_path, fsdp)


def test_fsdp_continues_without_and_back(root, fcmae, fsdp, one_process, tmp_path):
    """A checkpoint is one of the training, however that is distributed: the optimizer's state is found in either."""
    arguments = ['--work-dir', tmp_path / 'one', '--resume', fsdp / 'epoch_3.pth']
    launch_forked(root, 'tools/train.py', fcmae, *arguments)
    assert_same_weights(tmp_path / 'one', one_process)
    arguments = ['--work-dir', tmp_path / 'sharded', '--resume', one_process / 'epoch_3.pth', '--cfg-options', *FSDP]
    launch_forked(root, 'tools/train.py', fcmae, *arguments, processes=2)
    assert_same_weights(tmp_path / 'sharded', one_process)
    for name in ('one', 'sharded'):
        assert [record['step'] for record in scalars(tmp_path / name)] == list(range(7, 13))


def test_slurm_train(root, fcmae, one_process, tmp_path):
    command = ['tools/slurm_train.sh', 'gpus', 'fcmae', fcmae, '--work-dir', tmp_path, '--cfg-options', HALF]
    env = dict(GPUS='2', SRUN_ARGS='--gres=none --time=60')
    arguments = launch_with_slurm(root, tmp_path, *command, **env)
    assert arguments == [
        *('--partition=gpus', '--job-name=fcmae', '--gres=gpu:2', '--ntasks=2', '--ntasks-per-node=2'),
        *('--cpus-per-task=5', '--kill-on-bad-exit=1', '--gres=none', '--time=60'),
        *(sys.executable, '-u', 'tools/train.py', str(fcmae), '--work-dir', str(tmp_path)),
        *('--cfg-options', HALF, '--launcher', 'slurm'),
    ]
    assert_same_weights(tmp_path, one_process)


def scaled_lr(root, config, work_dir, *options):
    """Trains an epoch, of one step with 16 images: 2 processes x 4 images x 2 iterations. The checkpoint."""
    settings = [HALF, 'optim_wrapper.accumulative_counts=2', 'train_cfg.max_epochs=1', *options]
    arguments = ['--work-dir', work_dir, '--auto-scale-lr', '--cfg-options', 'default_hooks.checkpoint.interval=1']
    launch_forked(root, 'tools/train.py', config, *arguments, *settings, processes=2)
    return load(work_dir / 'epoch_1.pth')


def test_auto_scale_lr_counts_processes_and_accumulation(root, fcmae, one_process, tmp_path):
    """The lr is 1e-3, for 32 images: 1e-3 * 16 / 32 = 5e-4."""
    start = one_process / 'epoch_3.pth'
    checkpoint = scaled_lr(root, fcmae, tmp_path, f'load_from={start}', 'auto_scale_lr.base_batch_size=32')
    assert {group['lr'] for group in checkpoint['optimizer']['param_groups']} == {5e-4}
    assert Config.fromfile(tmp_path / 'fcmae.py').auto_scale_lr.base_batch_size == 32
    # It did start from there: one step is much shorter than six together.
    way = distance(weights(one_process, 3), weights(one_process))
    assert 0 < distance(weights(one_process, 3), checkpoint['state_dict']) < way / 5


def test_recipe_with_fsdp(root, toy_scenes, one_process, tmp_path):
    """The recipe of huge, at the size of atto. The paper's lr for 16 images: 1.5e-4 * 16 / 256 = 9.375e-6."""
    name = 'fcmae_convnextv2-huge_64xb64-fsdp-amp-coslr-1600e_in1k.py'
    options = [
        'model.backbone.arch=atto',
        'model.decoder_embed_dims=128',
        'train_dataloader.dataset.pipeline.0.size=96',
    ]
    options += [f'train_dataloader.dataset.data_root={toy_scenes}/unlabelled/', f'load_from={one_process}/epoch_3.pth']
    options += ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    checkpoint = scaled_lr(root, f'configs/fcmae/{name}', tmp_path, *options)
    groups = checkpoint['optimizer']['param_groups']
    assert [group['initial_lr'] for group in groups] == pytest.approx([9.375e-6] * 151)
    moved = distance(weights(one_process, 3), checkpoint['state_dict'])
    assert 0 < moved < distance(weights(one_process, 3), weights(one_process)) / 10
