"""Typos and wrong values in configs and --cfg-options: an error before anything is built names the right key."""

import inspect
import re
import runpy
import sys
from argparse import ArgumentParser
from importlib import import_module

import pytest
from helpers.processes import assert_refused, run_forked
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import MODELS, DefaultScope

from mmcnv2 import registry
from mmcnv2.cli.arguments import add_config_arguments, load_config
from mmcnv2.cli.errors import errors_in_one_line
from mmcnv2.preflight import check_settings
from mmcnv2.utils.errors import ConfigError, InputError

TOY = 'configs/toy/{}_convnextv2-atto_toy-scenes.py'


@pytest.fixture(autouse=True)
def in_the_repository(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())


def load(config, *options):
    parser = ArgumentParser()
    add_config_arguments(parser)
    return load_config(parser.parse_args([str(config), *(['--cfg-options', *options] if options else [])]))


def refusal(config, *options):
    """The message for a config with these options."""
    with pytest.raises(ConfigError) as info:
        check_settings(load(config, *options))
    return str(info.value)


def test_a_typo_in_the_head_of_mask2former():
    config = 'configs/checks/mask2former_convnextv2-atto-small_overfit-8-images_coco.py'
    message = refusal(config, 'model.panoptic_fusion_head.num_thing_classes=3')
    assert 'model.panoptic_fusion_head.num_thing_classes' in message and 'num_things_classes' in message


# ---- a typo in every argument of every component of ours ----

WHERE = {
    'model': ('model', lambda config: dict(model=config)),
    'dataset': ('train_dataloader.dataset', lambda config: dict(train_dataloader=dict(dataset=config))),
    'transform': (
        'train_dataloader.dataset.pipeline.0',
        lambda config: dict(train_dataloader=dict(dataset=dict(type='mmcnv2.UnlabelledImages', pipeline=[config]))),
    ),
    'hook': ('custom_hooks.0', lambda config: dict(custom_hooks=[config])),
    'metric': ('val_evaluator', lambda config: dict(val_evaluator=config)),
    'weight initializer': (
        'model.init_cfg',
        lambda config: dict(model=dict(type='mmcnv2.ConvNeXtV2', init_cfg=config)),
    ),
}
PARTS = (
    registry.MODELS,
    registry.DATASETS,
    registry.TRANSFORMS,
    registry.HOOKS,
    registry.METRICS,
    registry.WEIGHT_INITIALIZERS,
)


def our_components():
    for part in PARTS:
        part.import_from_location()
        for name, cls in sorted(part.module_dict.items()):
            if cls.__module__.startswith('mmcnv2.'):
                yield part.name, name, cls


def arguments():
    for part, name, cls in our_components():
        keys = [*inspect.signature(cls).parameters]
        if issubclass(cls, BaseDataset):
            keys += [key for key in inspect.signature(BaseDataset).parameters if key not in keys]
        yield from ((part, name, key) for key in keys if key not in ('kwargs', 'args'))


def misspelt(word, number):
    """One of four usual slips: a letter left out, twice, exchanged with the next, or in capitals.

    Of a single letter only that it is there twice.
    """
    number = number if len(word) > 1 else 1
    middle = len(word) // 2
    return [
        word[:middle] + word[middle + 1 :],
        word[:middle] + word[middle] + word[middle:],
        word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :],
        word.capitalize(),
    ][number % 4]


ARGUMENTS = list(arguments())


def test_the_cases_cover_all_parts():
    assert {part for part, _, _ in ARGUMENTS} >= {'model', 'dataset', 'transform', 'hook', 'weight initializer'}
    assert len(ARGUMENTS) > 40


@pytest.mark.parametrize(
    ('number', 'part', 'name', 'key'),
    [(i, *case) for i, case in enumerate(ARGUMENTS)],
    ids=[f'{name}.{key}' for _, name, key in ARGUMENTS],
)
def test_typo_in_an_argument(number, part, name, key):
    typo = misspelt(key, number)
    if typo == key:
        typo += '_'
    setting, wrap = WHERE[part]
    with pytest.raises(ConfigError) as info:
        check_settings(Config(wrap({'type': f'mmcnv2.{name}', typo: 1})))
    assert str(info.value) == f'{setting}.{typo}: {name} has no argument {typo!r}; did you mean {key}?'


@pytest.mark.parametrize(
    ('part', 'name'),
    [(part, name) for part, name, _ in our_components()],
    ids=[name for _, name, _ in our_components()],
)
def test_typo_in_a_type(part, name):
    setting, wrap = WHERE[part]
    typo = name[:4] + name[5:]
    with pytest.raises(ConfigError) as info:
        check_settings(Config(wrap(dict(type=f'mmcnv2.{typo}'))))
    assert str(info.value).startswith(f"{setting}.type: no component 'mmcnv2.{typo}' among ")
    assert str(info.value).endswith(f'did you mean mmcnv2.{name}?')


# ---- on the command line ----

OPTIONS = [
    # of our components
    ('fcmae', 'model.backbone.drop_path_rat=0.1', 'backbone.drop_path_rat: ConvNeXtV2 has no', 'drop_path_rate'),
    ('fcmae', 'model.mask_ration=0.6', 'model.mask_ration: FCMAE has no argument', 'mask_ratio'),
    ('fcmae', 'model.type=FCMEA', "model.type: no component 'FCMEA' among models", 'mmcnv2.FCMAE'),
    ('fcmae', 'train_dataloader.dataset.data_rot=x', 'UnlabelledImages has no argument', 'data_root'),
    ('fcmae', 'train_dataloader.dataset.pipeline.0.scales=1', 'pipeline.0.scales: LoadRandomResizedCrop', 'scale'),
    ('fcmae', 'custom_hooks.1.intervall=2', 'custom_hooks.1.intervall: ReconstructionHook', 'interval'),
    ('upernet', 'model.backbone.type=ConvNeXtV2', "no component 'ConvNeXtV2' among models", 'mmcnv2.ConvNeXtV2'),
    ('upernet', 'model.backbone.type=mmcnv2.ConvNextV2', "no component 'mmcnv2.ConvNextV2'", 'mmcnv2.ConvNeXtV2'),
    ('mask-rcnn', 'model.backbone.init_cfg.type=PretrainedConvNeXtV2', 'init_cfg.type', 'mmcnv2.PretrainedConv'),
    ('mask-rcnn', 'optim_wrapper.constructor=mmcnv2.LayerDecayConstructor', 'constructor.type', 'mmcnv2.LayerDecay'),
    # of other libraries'
    ('mask-rcnn', 'model.type=MaskRCN', "model.type: no component 'MaskRCN' among models", 'MaskRCNN'),
    ('mask-rcnn', 'model.roi_head.bbox_head.num_clases=3', 'model.roi_head.bbox_head.num_clases', 'num_classes'),
    ('mask-rcnn', 'train_dataloader.dataset.anfile=x', 'CocoDataset has no argument', 'ann_file'),
    ('mask-rcnn', 'val_evaluator.metrics=bbox', 'val_evaluator.metrics: CocoMetric has no argument', 'metric'),
    ('upernet', 'model.decode_head.chanels=64', 'model.decode_head.chanels: UPerHead has no argument', 'channels'),
    ('upernet', 'optim_wrapper.optimizer.weight_deccay=1', 'optimizer.weight_deccay: AdamW', 'weight_decay'),
    ('upernet', 'optim_wrapper.optimizer.type=AdmW', "no component 'AdmW' among optimizers", 'AdamW'),
    ('upernet', 'optim_wrapper.clip_grads.max_norm=1', 'optim_wrapper.clip_grads: OptimWrapper', 'clip_grad'),
    ('upernet', 'param_scheduler.1.eta_mn=0', 'param_scheduler.1.eta_mn: CosineAnnealingLR', 'eta_min'),
    ('upernet', 'train_cfg.max_iter=5', 'train_cfg.max_iter: IterBasedTrainLoop has no argument', 'max_iters'),
    ('upernet', 'train_dataloader.sampler.shufle=True', 'sampler.shufle: InfiniteSampler', 'shuffle'),
    ('upernet', 'train_dataloader.batchsize=2', 'train_dataloader.batchsize: DataLoader', 'batch_size'),
    ('upernet', 'train_dataloader.num_worker=2', 'train_dataloader.num_worker: DataLoader', 'num_workers'),
    ('upernet', 'default_hooks.loger.interval=1', "default_hooks.loger: has no 'type'", 'is its name right'),
    ('upernet', 'default_hooks.logger.intervall=1', 'default_hooks.logger.intervall: LoggerHook', 'interval'),
    ('upernet', 'default_hooks.checkpoint.max_keep_ckpt=1', 'CheckpointHook has no argument', 'max_keep_ckpts'),
    # at the top
    ('fcmae', 'train_dataloder.batch_size=2', "the config has no setting 'train_dataloder'", 'train_dataloader'),
    ('fcmae', 'loadfrom=x.pth', "the config has no setting 'loadfrom'", 'load_from'),
    ('fcmae', 'modle.mask_ratio=0.5', "the config has no setting 'modle'", 'model'),
    ('fcmae', 'randomnes.seed=1', "the config has no setting 'randomnes'", 'randomness'),
    ('fcmae', 'lr=1', "the config has no setting 'lr'", ''),
    # into what has no inside
    ('fcmae', 'train_dataloader.batch_size.x=1', '--cfg-options', 'do not fit the config'),
    ('fcmae', 'custom_hooks.7.interval=1', '--cfg-options', 'do not fit the config'),
]  # fmt: skip


@pytest.mark.parametrize('argument', ['dilations', 'strides', 'output_stride'])
def test_a_backbone_without_dilation_says_so(argument):
    """mmseg's configs for ResNet ask for maps of stride 8; the reason is given before anything is built."""
    error = refusal(TOY.format('upernet'), f'model.backbone.{argument}=1,1,2,4')
    assert f"model.backbone.{argument}: ConvNeXtV2 has no argument '{argument}': its maps have strides 4, 8," in error
    assert 'cannot be dilated' in error and 'Remove it' in error


@pytest.mark.parametrize(('task', 'option', 'message', 'nearest'), OPTIONS, ids=[option for _, option, *_ in OPTIONS])
def test_typo_in_an_option(task, option, message, nearest):
    error = refusal(TOY.format(task), option)
    assert message in error and nearest in error, error


@pytest.mark.parametrize(
    ('task', 'options'),
    [
        ('fcmae', ['model.backbone.drop_path_rate=0.1', 'model.backbone.with_cp=True']),
        ('fcmae', ['load_from=x.pth', 'randomness.deterministic=True', 'experiment_name=a']),
        ('fcmae', ['train_dataloader.dataset.indices=8', 'train_dataloader.timeout=3', 'auto_scale_lr.enable=True']),
        ('fcmae', ['default_hooks.checkpoint.save_best=loss', 'default_hooks.visualization=None']),
        ('mask-rcnn', ['model.backbone.init_cfg.type=Pretrained', 'model.backbone.init_cfg.checkpoint=x.pth']),
        ('mask-rcnn', ['optim_wrapper.accumulative_counts=2', 'train_dataloader.dataset.filter_cfg.min_size=32']),
        ('mask-rcnn', ['model.train_cfg.rcnn.sampler.num=64', 'model.roi_head.bbox_head.norm_cfg.type=BN']),
        ('upernet', ['optim_wrapper.type=AmpOptimWrapper', 'optim_wrapper.dtype=float16', 'train_cfg.val_begin=2']),
        ('upernet', ['train_dataloader.num_batch_per_epoch=3', 'val_evaluator.ignore_index=0']),
    ],
)
def test_new_optional_settings_are_allowed(task, options):
    check_settings(load(TOY.format(task), *options))


@pytest.mark.slow
def test_every_config_of_the_project_passes(root):
    for path in sorted((root / 'configs').rglob('*.py')):
        if '_base_' not in path.parts:
            check_settings(load(path))


# ---- values ----


@pytest.mark.parametrize(
    ('task', 'option', 'message'),
    [
        ('fcmae', 'model.mask_ratio=high', "model.mask_ratio: FCMAE takes float, got 'high'"),
        ('fcmae', 'model.norm_pix_loss=3', 'model.norm_pix_loss: FCMAE takes bool, got 3'),
        ('fcmae', 'model.decoder_depth=1.5', 'model.decoder_depth: FCMAE takes int, got 1.5'),
        ('fcmae', 'model.backbone.in_channels=True', 'model.backbone.in_channels: ConvNeXtV2 takes int, got True'),
        ('fcmae', 'model.backbone.arch=7', 'model.backbone.arch: ConvNeXtV2 takes str or dict, got 7'),
        ('fcmae', 'train_dataloader.dataset.max_unreadable=none', "UnlabelledImages takes int, got 'none'"),
        ('fcmae', 'train_dataloader.dataset.data_root=7', 'UnlabelledImages takes str, got 7'),
        ('fcmae', 'train_dataloader.batch_size=many', "batch_size: DataLoader takes int or None, got 'many'"),
        ('fcmae', 'train_dataloader.num_workers=1.5', 'train_dataloader.num_workers: DataLoader takes int, got 1.5'),
        ('upernet', 'train_dataloader.dataset.pipeline.1.num_classes=7.0', 'LoadLabelMap takes int or None, got 7.0'),
    ],
)  # fmt: skip
def test_kind_of_a_value(task, option, message):
    assert message in refusal(TOY.format(task), option)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(mask_ratio=1.5), r'mask_ratio must lie between 0 and 1'),
        (dict(mask_ratio=0.0), r'mask_ratio must lie between 0 and 1'),
        (dict(mask_ratio=float('nan')), r'mask_ratio must lie between 0 and 1'),
        (dict(patch_size=16), r'patch_size must be the stride of the encoder, 32, got 16'),
        (dict(backbone=dict(arch='bse')), r"arch must be one of .*base.* got 'bse'"),
        (dict(backbone=dict(arch=dict(depths=[1, 1, 1, 1]))), r'arch must be dict\(depths=\.\.\., channels=\.\.\.\)'),
        (dict(backbone=dict(drop_path_rate=1.0)), r'drop_path_rate must be at least 0 and below 1, got 1\.0'),
        (dict(backbone=dict(drop_path_rate=float('nan'))), r'drop_path_rate must be at least 0'),
        (dict(backbone=dict(frozen_stages=9)), r'frozen_stages must be from -1 to 4, got 9'),
        (dict(backbone=dict(out_indices=(4,))), r'out_indices must be among 0, 1, 2, 3'),
        (dict(backbone=dict(sparse_backend='cuda')), r"sparse_backend must be one of .* got 'cuda'"),
    ],
)
def test_value_out_of_range(changes, message):
    model = dict(type='FCMAE', backbone=dict(type='ConvNeXtV2', arch='atto') | changes.get('backbone', {}))
    with DefaultScope.overwrite_default_scope('mmcnv2'), pytest.raises(InputError, match=message):
        MODELS.build(changes | model)


@pytest.mark.parametrize('setting', ['model.backbone', 'model.init_cfg'])
def test_missing_argument(setting):
    if setting == 'model.backbone':
        model, message = dict(type='mmcnv2.FCMAE'), "model: FCMAE needs the argument 'backbone'"
    else:
        model = dict(type='mmcnv2.ConvNeXtV2', init_cfg=dict(type='mmcnv2.PretrainedConvNeXtV2'))
        message = "model.init_cfg: PretrainedConvNeXtV2 needs the argument 'checkpoint'"
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_settings(Config(dict(model=model)))


# ---- files ----


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('a.py', b'model = dict(', 'cannot be read: SyntaxError'),
        ('a.py', b'model = dikt()', "cannot be read: NameError: name 'dikt' is not defined"),
        ('a.py', b"_base_ = 'nowhere.py'", 'nowhere.py'),
        ('a.py', b"_base_ = 'a.py'", 'cannot be read'),
        ('a.py', b"_base_ = 'mmdet::nowhere.py'", 'cannot be read'),
        ('a.py', b"custom_imports = dict(imports=['no_such_module'], allow_failed_imports=False)", 'no_such_module'),
        ('a.py', bytes(range(256)), 'cannot be read'),
        ('a.json', b'{"model":', 'cannot be read'),
        ('a.yaml', b'model: [', 'cannot be read'),
        ('a.txt', b'model', 'cannot be read'),
        ('a.py', b'train_dataloder = dict(batch_size=2)', 'did you mean train_dataloader?'),
        ('a.py', b'default_hook = dict()', 'did you mean default_hooks?'),
    ],
)  # fmt: skip
def test_config_file(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    assert message in refusal(path)


def test_folder_and_missing_file(tmp_path):
    assert 'config file not found' in refusal(tmp_path)
    assert 'config file not found' in refusal(tmp_path / 'a.py')


# ---- the tools ----


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_the_tools_check_before_they_build(tool, tmp_path, monkeypatch):
    """Without data: settings come first."""
    arguments = [TOY.format('upernet'), *(['x.pth'] if tool == 'test.py' else [])]
    option = 'model.backbone.drop_path_rat=0.1'
    monkeypatch.setattr(sys, 'argv', [tool, *arguments, '--work-dir', str(tmp_path / 'w'), '--cfg-options', option])
    with pytest.raises(SystemExit) as info:
        runpy.run_path(f'tools/{tool}', run_name='__main__')
    assert info.value.code.startswith('error: model.backbone.drop_path_rat: ConvNeXtV2 has no argument')
    assert not (tmp_path / 'w').exists()


@pytest.mark.parametrize(
    ('registry', 'config'),
    [
        ('MODELS', dict(type='mmcnv2.ConvNeXtV2', in_channels=-1)),
        ('MODELS', dict(type='mmcnv2.ConvNeXtV2', arch=dict(depths=(1, 1, 1, 1), channels=('a', 'b', 'c', 'd')))),
        ('TRANSFORMS', dict(type='mmcnv2.LoadRandomResizedCrop', scale=('a', 'b'))),
        ('TRANSFORMS', dict(type='mmcnv2.LoadLabelMap', num_classes='seven')),
        ('OPTIMIZERS', dict(type='AdamW', params=[], lr=1)),
        ('PARAM_SCHEDULERS', dict(type='StepLR', optimizer=None, step_size=1)),
        ('DATASETS', dict(type='mmengine.RepeatDataset', dataset=7, times=1)),
    ],
)
def test_what_is_raised_while_building_is_one_line(registry, config):
    part = getattr(import_module('mmengine.registry'), registry)
    with pytest.raises(SystemExit) as info, errors_in_one_line():
        part.build(config)
    assert re.match(rf'error: .*{config["type"]} cannot be built: \w+: .*\.py:\d+\)', info.value.code, re.DOTALL)


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), errors_in_one_line():
        1 / 0  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize(
    ('option', 'parts'),
    [
        ('model.backbone.drop_path_rat=0.1', ["has no argument 'drop_path_rat'; did you mean drop_path_rate?"]),
        ('model.backbone.arch=bse', ['arch must be one of', "got 'bse'"]),
        ('model.decode_head.channels=wide', ['UPerHead cannot be built: TypeError', 'Check its settings']),
        ('optim_wrapper.optimizer.lr=high', ['AdamW cannot be built', 'optim/adam']),
    ],
)
def test_tool(root, toy_scenes, tmp_path, option, parts):
    data = [f'{split}_dataloader.dataset.data_root={toy_scenes}/' for split in ('train', 'val')]
    done = run_forked(
        root, 'tools/train.py', TOY.format('upernet'), '--work-dir', tmp_path, '--cfg-options', *data, option
    )
    assert_refused(done, *parts)
