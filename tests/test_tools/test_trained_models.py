"""A trained model is usable: tested, whatever trained it, and the start of a model for other classes."""

import json
import re

import pytest
import torch
from helpers.launching import launch_forked
from helpers.processes import assert_refused, run_forked
from helpers.training import load, scalars

UPERNET = """
_base_ = '{root}/configs/toy/upernet_convnextv2-atto_toy-scenes.py'
custom_hooks = [dict(type='EMAHook', momentum=0.3, priority='ABOVE_NORMAL')]
optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16', accumulative_counts=2, optimizer=dict(lr=0.01))
param_scheduler = None
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=2, save_best='mIoU'))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}')
)
val_dataloader = dict(dataset=dict(data_root='{data}'))
test_dataloader = dict(dataset=dict(data_root='{data}'))
"""
AUGMENTED = """
_base_ = '{config}'
tta_model = dict(type='SegTTAModel')
flips = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
labels = [dict(type='mmcnv2.LoadLabelMap', num_classes=7)]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[flips, labels, [dict(type='PackSegInputs')]]),
]
"""
OTHER_CLASSES = """
_base_ = '{config}'
metainfo = dict(classes=('background', 'ball', 'box', 'can', 'cone', 'ring', 'mug', 'cup', 'lid'))
train_pipeline = _base_.train_dataloader.dataset.pipeline
test_pipeline = _base_.test_dataloader.dataset.pipeline
train_pipeline[1].update(num_classes=9)
test_pipeline[1].update(num_classes=9)
train_dataloader = dict(dataset=dict(metainfo=metainfo, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(metainfo=metainfo, pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(decode_head=dict(num_classes=9), auxiliary_head=dict(num_classes=9))
"""
FROZEN = ['optim_wrapper.optimizer.lr=0', 'optim_wrapper.clip_grad=None', 'train_cfg.max_iters=2']
SHARDED = ['runner_type=FlexibleRunner', 'strategy.type=mmcnv2.FSDPStrategy']


@pytest.fixture(scope='module')
def config(root, toy_scenes, tmp_path_factory):
    path = tmp_path_factory.mktemp('configs') / 'upernet.py'
    path.write_text(UPERNET.format(root=root, data=toy_scenes))
    return path


@pytest.fixture(scope='module')
def other_classes(config):
    path = config.with_name('other_classes.py')
    path.write_text(OTHER_CLASSES.format(config=config))
    return path


@pytest.fixture(scope='module')
def averaged(root, config, tmp_path_factory):
    """The work dir of a training with averaged weights, accumulated gradients and the setting of mixed precision."""
    work_dir = tmp_path_factory.mktemp('averaged')
    launch_forked(root, 'tools/train.py', config, '--work-dir', work_dir)
    return work_dir


def evaluate(root, config, checkpoint, work_dir, *options):
    """What tools/test.py measures and prints."""
    options = ['--cfg-options', *options] if options else []
    done = launch_forked(root, 'tools/test.py', config, checkpoint, '--work-dir', work_dir, *options)
    (result,) = work_dir.glob('*/*.json')
    return json.loads(result.read_text())['mIoU'], done.stdout


@pytest.mark.parametrize('name', ['iter_4', 'best_mIoU_iter_4'])
def test_averaged_weights_are_tested(root, config, averaged, tmp_path, name):
    """Those that validation measured, with the hook and without; the others give something else."""
    expected = scalars(averaged)[-1]['mIoU']
    checkpoint = averaged / f'{name}.pth'
    assert evaluate(root, config, checkpoint, tmp_path / 'with')[0] == expected
    if name == 'iter_4':
        found, printed = evaluate(root, config, checkpoint, tmp_path / 'without', 'custom_hooks=[]', 'resume=True')
        assert found == expected and 'was trained with EMAHook: its averaged weights are tested' in printed
        content = load(checkpoint)
        last = {key.removeprefix('module.'): value for key, value in content['ema_state_dict'].items()}
        last.pop('steps')
        torch.save(last, tmp_path / 'last.pth')  # a bare state dict
        found, printed = evaluate(root, config, tmp_path / 'last.pth', tmp_path / 'last')
        assert found != expected and 'was trained without EMAHook: its weights are tested as they are' in printed


def test_augmented_test_on_two_processes(root, config, averaged, tmp_path):
    """The model is inside two others then, and EMAHook's copy is one of both."""
    (tmp_path / 'augmented.py').write_text(AUGMENTED.format(config=config))
    command = ['tools/test.py', tmp_path / 'augmented.py', averaged / 'iter_4.pth', '--work-dir', tmp_path / 'work']
    launch_forked(root, *command, '--tta', '--out', tmp_path / 'out', processes=2)
    assert len(list((tmp_path / 'out').glob('*.png'))) == 4


@pytest.mark.parametrize('how', ['EMAHook', 'FSDP'])
def test_other_classes(root, other_classes, averaged, tmp_path, how):
    """The last layers start fresh, which two lines say; all else is that of the checkpoint, averages included."""
    start = averaged / 'iter_4.pth'
    options = [*FROZEN, f'load_from={start}', *(['custom_hooks=[]', *SHARDED] if how == 'FSDP' else [])]
    command = ['tools/train.py', other_classes, '--work-dir', tmp_path, '--cfg-options', *options]
    done = launch_forked(root, *command, processes=2 if how == 'FSDP' else 1)
    fresh = re.findall(r'^  (\S+) stays fresh: weight is \(7, 64, 1, 1\), expected \(9, 64, 1, 1\)', done.stdout, re.M)
    assert fresh == ['decode_head.conv_seg', 'auxiliary_head.conv_seg']  # once, by the first process
    before, after = load(start)['state_dict'], load(tmp_path / 'iter_2.pth')
    copies = [after['state_dict']]
    if how == 'EMAHook':
        copies.append({key.removeprefix('module.'): value for key, value in after['ema_state_dict'].items()})
    learnt = [key for key in before if not key.endswith(('running_mean', 'running_var', 'num_batches_tracked'))]
    for copy in copies:
        differ = [
            key for key in learnt if before[key].shape != copy[key].shape or not torch.equal(before[key], copy[key])
        ]
        assert [key.rpartition('.')[0] for key in differ[::2]] == fresh and len(differ) == 4


def test_what_a_strategy_cannot_do_is_refused(root, config, averaged):
    """In one line and before anything is built: averages, clipping, one process alone."""
    arguments = ['tools/train.py', config, '--cfg-options', *SHARDED, f'load_from={averaged}/iter_4.pth']
    assert_refused(
        run_forked(root, *arguments), 'custom_hooks.0: EMAHook does not work with runner_type=FlexibleRunner'
    )
    clipping = ['custom_hooks=[]', 'optim_wrapper.clip_grad.max_norm=1.0']
    done = run_forked(root, *arguments, *clipping)
    assert_refused(done, 'optim_wrapper.clip_grad: FSDPStrategy cannot clip gradients: set it to None')
    done = run_forked(root, *arguments, 'custom_hooks=[]', 'optim_wrapper.clip_grad=None')
    assert_refused(done, 'FSDPStrategy shards between processes: start it with tools/dist_train.sh CONFIG GPUS')


@pytest.mark.parametrize('way', ['test', 'resume'])
def test_other_classes_are_refused_elsewhere(root, other_classes, averaged, tmp_path, way):
    checkpoint = averaged / 'iter_4.pth'
    arguments = ['tools/test.py', other_classes, checkpoint] if way == 'test' else ['tools/train.py', other_classes]
    arguments += ['--resume', checkpoint] if way == 'resume' else []
    done = run_forked(root, *arguments, '--work-dir', tmp_path)
    assert_refused(done, 'iter_4.pth does not fit the model of the config; 4 of 226 tensors disagree')
