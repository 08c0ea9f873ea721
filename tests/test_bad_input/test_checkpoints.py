"""Checkpoints that are damaged, of another model, or would run code, by every way in which they are loaded."""

import os
import pickle
import subprocess

import numpy as np
import pytest
import torch
from helpers.damage import flipped_bits
from helpers.processes import assert_refused, run_forked
from hypothesis import given
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import WEIGHT_INITIALIZERS, DefaultScope
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from mmcnv2.engine.safe_loaders import install_safe_loaders
from mmcnv2.models.backbones import ConvNeXtV2
from mmcnv2.models.weights.reading import read_state_dict
from mmcnv2.preflight import check_checkpoint, check_pretrained
from mmcnv2.utils.errors import ConfigError, InputError

ARCH = dict(depths=(1, 1, 1, 1), channels=(8, 8, 8, 8))
TOY = 'configs/toy/{}_convnextv2-atto_toy-scenes.py'


@pytest.fixture(autouse=True)
def careful_loaders(monkeypatch):
    """Those of the tools, for one test."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
    install_safe_loaders(Config(dict(default_scope='mmengine')))


def weights(prefix='backbone.'):
    return {prefix + key: value for key, value in ConvNeXtV2(arch=ARCH).state_dict().items()}


def by_loader(path):
    return CheckpointLoader.load_checkpoint(path, 'cpu', 'silent')


def by_pretrained(path):
    WEIGHT_INITIALIZERS.build(dict(type='Pretrained', checkpoint=path, prefix='backbone.'))(ConvNeXtV2(arch=ARCH))


def by_pretrained_without_prefix(path):
    WEIGHT_INITIALIZERS.build(dict(type='Pretrained', checkpoint=path))(nn.Module())


def by_pretrained_convnextv2(path):
    config = dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint=path)
    ConvNeXtV2(arch=ARCH, init_cfg=config).init_weights()


def by_check(path):
    check_checkpoint(path, nn.Sequential())


WAYS = [by_loader, by_pretrained, by_pretrained_without_prefix, by_pretrained_convnextv2, by_check, read_state_dict]
each_way = pytest.mark.parametrize('way', WAYS)
each_format = pytest.mark.parametrize('zip_format', [True, False], ids=['zip', 'legacy'])


# ---- code ----


class Code:
    """Unpickles to a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def payloads(trace):
    """Each leaves a file behind if it runs."""
    return {
        'open': Code(open, str(trace), 'w'),
        'system': Code(os.system, f'touch {trace}'),
        'eval': Code(eval, f'open({str(trace)!r}, "w")'),
        'exec': Code(exec, f'open({str(trace)!r}, "w")'),
        'subprocess': Code(subprocess.call, ['touch', str(trace)]),
        'getattr': Code(getattr, BaseModule, 'init_weights'),
        'import': Code(__import__, 'antigravity'),
    }


def save(content, path, zip_format):
    torch.save(content, path, _use_new_zipfile_serialization=zip_format)
    return str(path)


@each_format
@each_way
def test_code_is_not_run(tmp_path, way, zip_format):
    for name, payload in payloads(tmp_path / 'trace').items():
        content = dict(state_dict=weights(), meta=dict(evil=payload))
        path = save(content, tmp_path / f'{name}.pth', zip_format)
        refused = rf'{name}\.pth holds more than tensors .* could run any code .*--allow-pickle'
        with pytest.raises(InputError, match=refused):
            way(path)
        assert not (tmp_path / 'trace').exists(), name


@pytest.mark.parametrize('name', [*payloads('')][:5])
def test_the_payloads_are_alive(tmp_path, name):
    path = save(payloads(tmp_path / 'trace')[name], tmp_path / 'evil.pth', True)
    torch.load(path, weights_only=False)
    assert (tmp_path / 'trace').exists()


def test_pickle_without_torch(tmp_path):
    trace = tmp_path / 'trace'
    (tmp_path / 'a.pth').write_bytes(pickle.dumps(Code(open, str(trace), 'w'), protocol=2))
    for way in WAYS:
        with pytest.raises(InputError, match=r'a\.pth'):
            way(str(tmp_path / 'a.pth'))
    assert not trace.exists()


@pytest.mark.parametrize(
    'scheme', ['torchvision://resnet50', 'open-mmlab://x', 'mmcls://x', 'pavi://x', 's3://x/y.pth']
)
def test_loaders_of_mmengine_that_could_run_code(scheme):
    with pytest.raises(InputError, match=r'in a way that could run any code.*--allow-pickle'):
        by_loader(scheme)


def test_urls_are_read_the_same_way(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    trace = tmp_path / 'trace'
    save(dict(state_dict=weights(), x=Code(open, str(trace), 'w')), tmp_path / 'checkpoints/a.pth', True)
    for way in WAYS:
        with pytest.raises(InputError, match='holds more than tensors'):
            way('https://example.org/weights/a.pth')
    assert not trace.exists()


def test_allowed_explicitly(tmp_path):
    install_safe_loaders(Config(dict(default_scope='mmengine')), allow_pickle=True)
    path = save(dict(state_dict=weights(), args=ConfigDict(lr=1)), tmp_path / 'a.pth', True)
    assert by_loader(path)['args'] == ConfigDict(lr=1)


# ---- damage ----


@each_format
@pytest.mark.parametrize('way', [by_loader, by_pretrained, by_pretrained_convnextv2, by_check])
def test_cut_off(tmp_path, way, zip_format):
    path = tmp_path / 'cut.pth'
    save(dict(state_dict=weights(), meta=dict(epoch=1)), path, zip_format)
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r'cut\.pth is damaged or was not written by torch\.save'):
            way(str(path))


@each_format
def test_flipped_bits(tmp_path, zip_format):
    """Refused, or read with other values: PyTorch keeps no check sum of them. Never another error, never code."""
    path = tmp_path / 'flipped.pth'
    save(dict(state_dict={'a': torch.zeros(8), 'b': torch.ones(3, 3)}, meta=dict(epoch=1)), path, zip_format)

    @given(flipped_bits(path.read_bytes()))
    def check(damaged):
        path.write_bytes(damaged)
        try:
            check_checkpoint(str(path), nn.Sequential())
        except ConfigError as error:
            assert 'flipped.pth' in str(error)

    check()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'is damaged or was not written by torch.save'),
        (b'version https://git-lfs.github.com/spec/v1', 'is damaged or was not written by torch.save'),
        (b'<html>404</html>', 'is damaged or was not written by torch.save'),
        (b'PK\x03\x04' + bytes(100), 'is damaged or was not written by torch.save'),
        (bytes(1000), 'is damaged or was not written by torch.save'),
        (None, 'does not exist'),
        ('folder', 'does not exist'),
        ([1, 2], 'holds no state dict'),
        (torch.zeros(3), 'holds no state dict'),
        (7, 'holds no state dict'),
        ({}, 'holds no state dict'),
        (dict(state_dict=5), 'holds no state dict'),
        (dict(state_dict={}), 'holds no state dict'),
        (dict(state_dict=dict(a=1)), 'holds no state dict'),
    ],
    ids=str,
)
def test_no_checkpoint(tmp_path, content, message):
    path = tmp_path / 'a.pth'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == 'folder':
        path.mkdir()
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ConfigError, match=rf'a\.pth {message}'):
        check_checkpoint(str(path), nn.Linear(2, 2))


# ---- of another model ----


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (dict(weight=torch.zeros(4, 3)), 'bias is missing'),
        (dict(weight=torch.zeros(3, 4), bias=torch.zeros(4)), r'weight is \(3, 4\), expected \(4, 3\)'),
        (dict(weight=torch.zeros(4, 4), bias=torch.zeros(4)), r'1 of 2 tensors disagree'),
        (dict(other=torch.zeros(4, 3)), r'2 of 2 tensors disagree'),
        (dict(weight=torch.zeros(4, 3), bias='b'), 'bias is a str, no tensor'),
        (weights(), r'weight is missing'),
    ],
)  # fmt: skip
def test_other_model(tmp_path, given, message):
    torch.save(dict(state_dict=given), tmp_path / 'a.pth')
    with pytest.raises(ConfigError, match=message):
        check_checkpoint(str(tmp_path / 'a.pth'), nn.Linear(3, 4))


def test_fitting_ones(tmp_path):
    for content in (nn.Linear(3, 4).state_dict(), dict(nn.Linear(3, 4).state_dict(), more=torch.zeros(1))):
        for nested in (content, dict(state_dict=content), {f'module.{key}': value for key, value in content.items()}):
            torch.save(nested, tmp_path / 'a.pth')
            check_checkpoint(str(tmp_path / 'a.pth'), nn.Linear(3, 4))


def test_weights_are_no_run_to_resume(tmp_path):
    torch.save(dict(state_dict=nn.Linear(3, 4).state_dict()), tmp_path / 'a.pth')
    with pytest.raises(ConfigError, match=r'cannot be resumed from: it has no meta, message_hub'):
        check_checkpoint(str(tmp_path / 'a.pth'), nn.Linear(3, 4), to_resume=True)


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (dict(weights(), **{'backbone.stages.0.0.dwconv.weight': torch.zeros(8, 1, 5, 5)}), 'expected'),
        ({'backbone.x': torch.zeros(1)}, 'is missing'),
    ],
)  # fmt: skip
def test_pretrained_of_mmengine(tmp_path, given, message):
    torch.save(dict(state_dict=given), tmp_path / 'a.pth')
    with pytest.raises(InputError, match=f'does not fit this ConvNeXtV2 .*{message}'):
        by_pretrained(str(tmp_path / 'a.pth'))


def test_prefix_of_pretrained(tmp_path):
    torch.save(dict(state_dict=weights('encoder.')), tmp_path / 'a.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'), prefix='backbone.')
    model = nn.ModuleDict(dict(backbone=ConvNeXtV2(arch=ARCH, init_cfg=init_cfg)))
    with pytest.raises(ConfigError, match=r'model\.backbone\.init_cfg\.prefix: .*a\.pth .* keys start with encoder'):
        check_pretrained(model)
    model.backbone.init_cfg['prefix'] = 'encoder.'
    check_pretrained(model)


# ---- what MMEngine writes itself is read ----


class Numbers(BaseDataset):
    METAINFO = dict(classes=('a', 'b'), palette=[(1, 2, 3)], label_map=None, array=np.arange(3))  # noqa: RUF012

    def load_data_list(self):
        return [dict(x=torch.full((3,), float(i))) for i in range(8)]


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x, mode='tensor', **_):
        return dict(loss=self.linear(torch.stack(x)).square().mean())


def runner(work_dir, scheduler, **changes):
    return Runner(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader=dict(dataset=Numbers(), batch_size=4, sampler=dict(type='DefaultSampler', shuffle=True)),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1), clip_grad=dict(max_norm=1.0)),
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, end=1), dict(scheduler)],
        custom_hooks=[dict(type='EMAHook')],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        randomness=dict(seed=0),
        experiment_name=f'{work_dir.name}_{len(changes)}',
        **changes,
    )


@pytest.mark.parametrize(
    'scheduler',
    [
        dict(type='MultiStepLR', milestones=[1]),
        dict(type='CosineAnnealingLR', T_max=2),
        dict(type='PolyLR', power=0.9),
        dict(type='ExponentialLR', gamma=0.9),
        dict(type='StepLR', step_size=1),
    ],
    ids=lambda scheduler: scheduler['type'],
)
def test_checkpoints_of_mmengine(tmp_path, scheduler):
    """With message hub, moving averages of the weights, optimizer, schedulers and the data set's meta information."""
    runner(tmp_path, scheduler).train()
    trusted = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    read = by_loader(str(tmp_path / 'epoch_1.pth'))
    assert read.keys() == trusted.keys() >= {'ema_state_dict', 'message_hub', 'optimizer', 'param_schedulers'}
    assert pickle.dumps(read['param_schedulers']) == pickle.dumps(trusted['param_schedulers'])
    assert read['meta']['dataset_meta']['palette'] == trusted['meta']['dataset_meta']['palette']
    assert all(torch.equal(read['ema_state_dict'][key], value) for key, value in trusted['ema_state_dict'].items())

    resumed = runner(tmp_path, scheduler, load_from=str(tmp_path / 'epoch_1.pth'), resume=True)
    check_checkpoint(str(tmp_path / 'epoch_1.pth'), resumed.model, to_resume=True)
    resumed.train()
    again = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    assert again['meta']['iter'] == 4 and again['meta']['epoch'] == 2


# ---- the real tools ----


@pytest.mark.slow
@pytest.mark.parametrize('way', ['load_from', 'init_cfg', 'resume', 'test'])
def test_tools_run_no_code(root, toy_scenes, tmp_path, way):
    trace = tmp_path / 'trace'
    path = save(dict(state_dict=weights(), x=Code(open, str(trace), 'w')), tmp_path / 'evil.pth', True)
    data = [f'{split}_dataloader.dataset.data_root={toy_scenes}/' for split in ('train', 'val', 'test')]
    init_cfg = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    arguments, options = {
        'load_from': (['tools/train.py'], [f'load_from={path}']),
        'init_cfg': (
            ['tools/train.py'],
            [f'model.backbone.init_cfg.{key}={value}' for key, value in init_cfg.items()],
        ),
        'resume': (['tools/train.py', '--resume', path], []),
        'test': (['tools/test.py'], []),
    }[way]
    config = [TOY.format('upernet'), *([path] if way == 'test' else [])]
    done = run_forked(root, *arguments, *config, '--work-dir', tmp_path / 'w', '--cfg-options', *data, *options)
    assert_refused(done, 'evil.pth holds more than tensors', 'io.open', '--allow-pickle')
    assert not trace.exists()


@pytest.mark.slow
def test_resume_from_a_damaged_file_leaves_all_as_it_was(root, toy_scenes, tmp_path):
    """One checkpoint is cut off, the other one is of no run: nothing is trained, and no file is touched."""
    save(dict(state_dict=weights(), meta=dict(epoch=1)), tmp_path / 'epoch_1.pth', True)
    (tmp_path / 'epoch_2.pth').write_bytes((tmp_path / 'epoch_1.pth').read_bytes()[:2000])
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    data = f'train_dataloader.dataset.data_root={toy_scenes}/unlabelled'
    arguments = ['tools/train.py', TOY.format('fcmae'), '--resume', '--work-dir', tmp_path, '--cfg-options', data]
    done = run_forked(root, *arguments)
    assert_refused(done, 'epoch_2.pth', 'are damaged', 'Name a good one with --resume PATH')
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())


@pytest.mark.slow
def test_tool_reads_a_trusted_file(root, toy_scenes, tmp_path):
    """--allow-pickle: the code runs, and the error is only that the file is no UperNet."""
    trace = tmp_path / 'trace'
    path = save(dict(state_dict=weights(), x=Code(open, str(trace), 'w')), tmp_path / 'trusted.pth', True)
    data = [f'{split}_dataloader.dataset.data_root={toy_scenes}/' for split in ('train', 'val')]
    arguments = ['tools/train.py', TOY.format('upernet'), '--allow-pickle', '--work-dir', tmp_path / 'w']
    done = run_forked(root, *arguments, '--cfg-options', *data, f'load_from={path}')
    assert_refused(done, 'trusted.pth does not fit the model of the config')
    assert trace.exists()
