"""Mask R-CNN and UperNet in two processes (gloo, on the CPU), trained and tested through the scripts."""

import json
import os
import sys

import pytest
import torch
from helpers.launching import launch, launch_forked, launch_with_slurm
from helpers.training import CONFIG, data_options, load, scalars
from mmengine.config import Config
from mmengine.runner import Runner

# Two iterations with layer-wise decay, as in the recipes.
SETTINGS = """
_base_ = '{root}/configs/toy/{task}_convnextv2-atto_toy-scenes.py'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}'))
val_dataloader = dict(dataset=dict(data_root='{data}'))
test_dataloader = dict(dataset=dict(data_root='{data}'))
optim_wrapper = dict(
    clip_grad=None,
    constructor='mmcnv2.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, decay_rate=0.9, decay_type='single'),
)
param_scheduler = None
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
"""


def write_config(root, task, data, folder):
    path = folder / f'{task}.py'
    path.write_text(SETTINGS.format(root=root, task=task, data=data))
    return path


def test_mask_rcnn_trains(root, toy_scenes, tmp_path):
    config = write_config(root, 'mask-rcnn', toy_scenes, tmp_path)
    launch_forked(root, 'tools/train.py', config, '--work-dir', tmp_path, processes=2)
    *losses, metrics = scalars(tmp_path)
    assert [record['step'] for record in losses] == [1, 2]
    assert all(0 < record['loss'] < 100 for record in losses)
    assert 0 <= metrics['coco/segm_mAP'] <= 1


@pytest.fixture(scope='module')
def upernet(root, toy_scenes, tmp_path_factory):
    """Config and work dir of UperNet, trained in two processes."""
    folder = tmp_path_factory.mktemp('upernet')
    config = write_config(root, 'upernet', toy_scenes, folder)
    launch_forked(root, 'tools/train.py', config, '--work-dir', folder / 'ddp', processes=2)
    return config, folder / 'ddp'


def test_upernet_trains_without_sync_bn(upernet):
    """The config has SyncBN, which needs a GPU."""
    config, work_dir = upernet
    assert Config.fromfile(config).model.decode_head.norm_cfg.type == 'SyncBN'
    state = load(work_dir / 'iter_2.pth')['state_dict']
    counts = [int(value) for key, value in state.items() if key.endswith('num_batches_tracked')]
    # UPerHead: pooling 4 + 1, laterals 3, FPN 3 + 1; auxiliary head: 1.
    assert len(counts) == 13 and set(counts) == {2}


def test_upernet_sharded(root, upernet, tmp_path):
    """With FSDP: the weights of DDP, and the same groups of layer-wise decay, although shards are flat."""
    config, work_dir = upernet
    options = ['runner_type=FlexibleRunner', 'strategy.type=mmcnv2.FSDPStrategy']
    arguments = [config, '--work-dir', tmp_path, '--cfg-options', *options]
    launch_forked(root, 'tools/train.py', *arguments, processes=2)
    sharded, whole = (load(path / 'iter_2.pth') for path in (tmp_path, work_dir))
    assert sharded['state_dict'].keys() == whole['state_dict'].keys()
    for key, value in whole['state_dict'].items():
        torch.testing.assert_close(sharded['state_dict'][key], value, rtol=1e-5, atol=1e-6)
    groups, expected = (checkpoint['optimizer']['param_groups'] for checkpoint in (sharded, whole))
    for group, expected_group in zip(groups, expected, strict=True):
        assert len(group['params']) == len(expected_group['params'])
        for key in ('lr', 'lr_scale', 'layer_id', 'weight_decay'):
            assert group[key] == expected_group[key]


def test_tests_in_several_processes_agree(root, upernet, tmp_path):
    """One process, dist_test.sh with two and slurm_test.sh with two give the same mIoU."""
    config, work_dir = upernet
    arguments = [config, work_dir / 'iter_2.pth', '--work-dir']
    launch_forked(root, 'tools/test.py', *arguments, tmp_path / 'one')
    launch(root, 'tools/dist_test.sh', *arguments[:2], 2, '--work-dir', tmp_path / 'two')
    script = ['tools/slurm_test.sh', 'gpus', 'upernet', *arguments, tmp_path / 'slurm']
    srun = launch_with_slurm(root, tmp_path, *script, GPUS='2')
    assert srun[-7:] == ['tools/test.py', *map(str, arguments), str(tmp_path / 'slurm'), '--launcher', 'slurm']
    results = []
    for name in ('one', 'two', 'slurm'):
        (result,) = (tmp_path / name).glob('*/*.json')
        metrics = json.loads(result.read_text())
        results.append({key: metrics[key] for key in ('aAcc', 'mIoU', 'mAcc')})
    assert 0 < results[0]['mIoU'] < 100
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(('gpus', 'per_node'), [('16', 8), ('4', 4)])
def test_slurm_defaults(root, tmp_path, gpus, per_node):
    """16 GPUs are two nodes with eight."""
    (tmp_path / 'srun').write_text('#!/bin/bash\nprintf "%s\\n" "$@"')
    (tmp_path / 'srun').chmod(0o755)
    env = dict(PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', GPUS=gpus, CPUS_PER_TASK='7')
    arguments = launch(root, 'tools/slurm_test.sh', 'p', 'j', 'config.py', 'a.pth', **env).stdout.split()
    assert arguments == [
        *('--partition=p', '--job-name=j', f'--gres=gpu:{per_node}', f'--ntasks={gpus}'),
        *(f'--ntasks-per-node={per_node}', '--cpus-per-task=7', '--kill-on-bad-exit=1'),
        *(sys.executable, '-u', 'tools/test.py', 'config.py', 'a.pth', '--launcher', 'slurm'),
    ]


@pytest.mark.parametrize(
    ('task', 'objects'), [('fcmae', True), ('mask-rcnn', True), ('mask-rcnn', False), ('upernet', True)]
)
def test_every_parameter_has_a_gradient(root, toy_scenes, tmp_path, task, objects):
    """DDP waits for all of them (find_unused_parameters is off); also where no image of a process has an object."""
    cfg = Config.fromfile(root / CONFIG.format(task))
    cfg.merge_from_dict(dict(option.split('=') for option in data_options(task, toy_scenes)))
    cfg.merge_from_dict({'train_dataloader.batch_size': 2, 'train_dataloader.num_workers': 0})
    cfg.merge_from_dict({'train_dataloader.persistent_workers': False, 'work_dir': str(tmp_path)})
    runner = Runner.from_cfg(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    data = runner.model.data_preprocessor(next(iter(runner.train_dataloader)), training=True)
    if not objects:
        for sample in data['data_samples']:
            sample.gt_instances = sample.gt_instances[:0]
    loss, _ = runner.model.parse_losses(runner.model(**data, mode='loss'))
    loss.backward()
    assert [name for name, parameter in runner.model.named_parameters() if parameter.grad is None] == []
