"""Every config builds, the numbers of the full-size recipes are right, and the recipes run on real images."""

import argparse
import copy
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from helpers.configs import CONFIGS, ROOT, load
from mmengine import registry
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import CheckpointLoader, Runner
from mmengine.visualization import Visualizer
from torch import nn

from mmcnv2 import apis
from mmcnv2.cli.arguments import add_config_arguments, load_config
from mmcnv2.engine.runner import build_runner
from mmcnv2.models.backbones import ConvNeXt, ConvNeXtBlock
from mmcnv2.models.backbones.convnext import LAYER_SCALE

FCMAE = ROOT / 'configs/fcmae/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k.py'
MASK_RCNN = ROOT / 'configs/mask_rcnn/mask-rcnn_convnextv2-base-fcmae_fpn_8xb4-amp-lsj-3x_coco.py'
UPERNET = ROOT / 'configs/upernet/upernet_convnextv2-base-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512.py'
DENSE_LINEAR = ROOT / 'configs/linear_probe/dense-linear_convnextv2-base-fcmae_8xb2-amp-40k_ade20k-512x512.py'

each_config = pytest.mark.parametrize('path', CONFIGS, ids=[path.stem for path in CONFIGS])


# ---- every config builds ----


def build(cfg: Config) -> nn.Module:
    """The model on 'meta': shapes without values, or the largest would take 3 GB."""
    with torch.device('meta'), DefaultScope.overwrite_default_scope(cfg.default_scope):
        return registry.MODELS.build(cfg.model)


@each_config
def test_model_builds(path):
    assert isinstance(build(load(path)), nn.Module)


def test_transforms_and_hooks_build_and_all_types_are_known():
    Visualizer.get_instance('test_configs')  # visualisation hooks ask for the current one
    seen = set()
    for path in CONFIGS:
        cfg = load(path)
        for part, config, may_build in components(cfg):
            # Most stand in many configs: one of each is enough.
            key = (part.name, cfg.default_scope, json.dumps(config, sort_keys=True, default=repr))
            if key in seen:
                continue
            seen.add(key)
            where = f'{path.stem}: {config}'
            with DefaultScope.overwrite_default_scope(cfg.default_scope):
                with part.switch_scope_and_registry(None) as own:
                    assert own.get(config['type']) is not None, f'not in the registry {part.name}: {where}'
                if may_build:
                    assert part.build(config) is not None, where


def components(cfg: Config) -> Iterator[tuple[Registry, dict, bool]]:
    """Registry and config of all that a runner builds; True for what can be built without data and model."""
    for split in ('train', 'val', 'test'):
        if loader := cfg.get(f'{split}_dataloader'):
            yield registry.DATA_SAMPLERS, loader['sampler'], False
            for dataset in datasets(loader['dataset']):
                yield registry.DATASETS, dataset, False
                for transform in dataset.get('pipeline', []):
                    yield registry.TRANSFORMS, transform, True
        for metric in as_list(cfg.get(f'{split}_evaluator')):
            yield registry.METRICS, metric, False
        if 'type' in (cfg.get(f'{split}_cfg') or {}):
            yield registry.LOOPS, cfg[f'{split}_cfg'], False
    for hook in [*cfg.default_hooks.values(), *cfg.custom_hooks]:
        yield registry.HOOKS, hook, True
    yield registry.OPTIM_WRAPPERS, cfg.optim_wrapper, False
    yield registry.OPTIMIZERS, cfg.optim_wrapper.optimizer, False
    if 'constructor' in cfg.optim_wrapper:
        yield registry.OPTIM_WRAPPER_CONSTRUCTORS, dict(type=cfg.optim_wrapper.constructor), False
    for scheduler in as_list(cfg.get('param_scheduler')):
        yield registry.PARAM_SCHEDULERS, scheduler, False
    yield registry.VISUALIZERS, cfg.visualizer, False
    for backend in cfg.visualizer.vis_backends:
        yield registry.VISBACKENDS, backend, False
    if 'tta_model' in cfg:
        yield registry.MODELS, cfg.tta_model, False
        for transform in cfg.tta_pipeline:
            yield registry.TRANSFORMS, transform, True


def datasets(config: dict) -> Iterator[dict]:
    """A dataset, and those inside wrappers such as RepeatDataset and ConcatDataset."""
    yield config
    for inner in [*as_list(config.get('dataset')), *config.get('datasets', [])]:
        yield from datasets(inner)


def as_list(config: dict | list | None) -> list:
    if config is None:
        return []
    return list(config) if isinstance(config, list | tuple) else [config]


def test_options_switch_a_recipe_to_shards():
    """Those of docs/how_to/data.md give what configs/_base_/datasets/imagenet_shards.py gives."""
    text = (ROOT / 'docs/how_to/data.md').read_text()
    options = dict(re.findall(r"(train_dataloader\.\S+?)=([^\s']+)", text[text.index('## Tar shards') :]))
    cfg = load(FCMAE)
    cfg.merge_from_dict(options)
    base = Config.fromfile(ROOT / 'configs/_base_/datasets/imagenet_shards.py')
    assert cfg.train_dataloader == base.train_dataloader


# ---- the numbers of the full-size recipes ----


def test_batch_in_the_name_is_that_of_the_config():
    """'..._64xb64-...' is 64 GPUs with 64 images each."""
    named = [(path, found) for path in CONFIGS if (found := re.search(r'_(\d+)xb(\d+)-', path.stem))]
    unnamed = {path.parent.name for path in CONFIGS} - {path.parent.name for path, _ in named}
    assert unnamed == {'checks', 'toy', 'evidence', 'own_data'}
    assert len(named) == sum(path.parent.name not in unnamed for path in CONFIGS)
    for path, found in named:
        cfg, name = load(path), path.stem
        num_gpus, batch_size = map(int, found.groups())
        assert cfg.train_dataloader.batch_size == batch_size, name
        assert cfg.auto_scale_lr.base_batch_size == num_gpus * batch_size, name
        assert not cfg.auto_scale_lr.enable, name
        assert cfg.optim_wrapper.get('accumulative_counts', 1) == 1, name
        # Images of a step: tables 8, 12 (4096), 9 to 11 (1024), 13 (512), and 4096 from random weights (paper of V1).
        # Detectors and segmenters have no '_in'.
        if '_in1k' in name or '_in22k' in name:
            is_finetuning = path.parent.name == 'imagenet' and '-fcmae' in name and '_in1k' in name
            images = 512 if '-ft22k_' in name else 1024 if is_finetuning else 4096
            assert num_gpus * batch_size == images, name


def test_amp_is_in_the_name_and_in_the_config():
    for path in CONFIGS:
        cfg = load(path)
        deepspeed = cfg.get('strategy', {}).get('config', {}).get('torch_autocast', {})
        has_amp = cfg.optim_wrapper.type == 'AmpOptimWrapper' or deepspeed.get('enabled', False)
        assert ('-amp-' in path.stem) == has_amp, path.stem


def learning_rates(cfg: Config, epoch_length: int, iters: set[int]) -> dict[int, float]:
    """The learning rate at some iterations (from 0), with so many iterations an epoch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    by_iter, by_epoch = [], []
    for config in cfg.param_scheduler:
        config = dict(config, optimizer=optimizer)
        # As MMEngine's runners do.
        unit = 'max_epochs' if config.get('by_epoch', True) else 'max_iters'
        config.setdefault('end', cfg.train_cfg.get(unit, math.inf))
        config.update(dict(epoch_length=epoch_length) if config.get('convert_to_iter_based') else {})
        scheduler = registry.PARAM_SCHEDULERS.build(config)
        (by_epoch if scheduler.by_epoch else by_iter).append(scheduler)
    rates = {}
    for i in range(max(iters) + 1):
        if i in iters:
            rates[i] = optimizer.param_groups[0]['lr']
        for scheduler in by_iter + (by_epoch if (i + 1) % epoch_length == 0 else []):
            scheduler.step()
    return rates


def test_numbers_of_fcmae():
    cfg = load(FCMAE)
    assert (cfg.model.mask_ratio, cfg.model.decoder_depth, cfg.model.decoder_embed_dims) == (0.6, 1, 512)
    assert cfg.model.norm_pix_loss
    assert cfg.model.backbone.arch == 'base'
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, tuple(optimizer.betas), optimizer.weight_decay) == ('AdamW', (0.9, 0.95), 0.05)
    assert optimizer.lr == pytest.approx(1.5e-4 * 4096 / 256) == pytest.approx(2.4e-3)
    assert cfg.optim_wrapper.dtype == 'bfloat16'
    crop = cfg.train_dataloader.dataset.pipeline[0]
    assert (crop.type, crop.size, tuple(crop.scale)) == ('LoadRandomResizedCrop', 224, (0.2, 1.0))
    assert cfg.train_dataloader.drop_last
    assert cfg.train_cfg.max_epochs == 1600

    # Ten iterations an epoch: warm-up until iteration 400, half of the cosine at (400 + 16000) / 2, then to zero.
    rates = learning_rates(cfg, 10, {0, 200, 400, 8200, 15999})
    assert rates[0] < 1e-6
    assert rates[200] == pytest.approx(1.2e-3, rel=0.01)
    assert rates[400] == pytest.approx(2.4e-3)
    assert rates[8200] == pytest.approx(1.2e-3)
    assert rates[15999] == pytest.approx(1.2e-3 * (1 + math.cos(math.pi * 15599 / 15600)), rel=1e-3, abs=1e-9)


def test_numbers_of_mask_rcnn():
    cfg = load(MASK_RCNN)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-4, 0.05)
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_rate=0.95, decay_type='group')
    assert cfg.train_cfg.max_epochs == 36
    assert cfg.model.backbone.drop_path_rate in (0.2, 0.3, 0.4, 0.5)
    resize, crop = cfg.train_dataloader.dataset.pipeline[2:4]
    assert (tuple(resize.scale), tuple(resize.ratio_range), tuple(crop.crop_size)) == (
        (1024, 1024),
        (0.1, 2.0),
        (1024, 1024),
    )
    assert cfg.model.test_cfg.rcnn.nms == dict(type='soft_nms', iou_threshold=0.5)
    assert cfg.model.test_cfg.rpn.nms.type == 'nms'
    # The checkpoint is where the pre-training recipe leaves it: tools/train.py names the folder after the config.
    assert cfg.model.backbone.init_cfg.checkpoint == f'work_dirs/{FCMAE.stem}/epoch_{load(FCMAE).max_epochs}.pth'
    assert cfg.model.backbone.init_cfg.prefix == 'backbone.'

    rates = learning_rates(cfg, 100, {0, 999, 1000, 2699, 2700, 3299, 3300, 3599})
    assert rates[0] == pytest.approx(1e-7)
    assert rates[1000] == rates[2699] == pytest.approx(1e-4)
    assert rates[2700] == rates[3299] == pytest.approx(1e-5)
    assert rates[3300] == rates[3599] == pytest.approx(1e-6)


def test_numbers_of_upernet():
    cfg = load(UPERNET)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.weight_decay) == ('AdamW', 0.05)
    assert optimizer.lr in (1e-4, 2e-4, 3e-4)
    assert cfg.optim_wrapper.paramwise_cfg.decay_rate in (0.8, 0.9)
    assert cfg.model.backbone.drop_path_rate in (0.1, 0.2, 0.3, 0.4)
    assert cfg.train_cfg.max_iters == 160000
    assert (
        tuple(cfg.model.data_preprocessor.size)
        == tuple(cfg.train_dataloader.dataset.pipeline[3].crop_size)
        == (512, 512)
    )
    scales = [resize.scale for resize in cfg.tta_pipeline[1].transforms[0]]
    assert scales == [(int(2048 * r), int(512 * r)) for r in (0.75, 0.875, 1.0, 1.125, 1.25)]

    rates = learning_rates(cfg, 10**6, {0, 1500, 80750, 159999})
    assert rates[0] == pytest.approx(1e-10)
    assert rates[1500] == pytest.approx(1e-4)
    assert rates[80750] == pytest.approx(0.5e-4, rel=1e-4)  # half-way between 1500 and 160000
    assert rates[159999] < 1e-8


# ---- the numbers of each size ----


@dataclass
class Size:
    """What the recipes of a size state. ``epochs``: of fine-tuning on ImageNet-1k (paper, tables 9 to 11).
    ``millions``: parameters with a head of 1000 classes, as the paper rounds them (table 14)."""

    depths: tuple[int, ...]
    channels: list[int]
    millions: float
    epochs: int
    mask_rcnn_drop_path: float
    upernet_drop_path: float
    decay_type: str


SIZES = {
    'atto': Size((2, 2, 6, 2), [40, 80, 160, 320], 3.7, 600, 0.2, 0.1, 'single'),
    'femto': Size((2, 2, 6, 2), [48, 96, 192, 384], 5.2, 600, 0.2, 0.1, 'single'),
    'pico': Size((2, 2, 6, 2), [64, 128, 256, 512], 9.1, 600, 0.2, 0.1, 'single'),
    'nano': Size((2, 2, 8, 2), [80, 160, 320, 640], 15.6, 600, 0.2, 0.1, 'single'),
    'tiny': Size((3, 3, 9, 3), [96, 192, 384, 768], 28.6, 300, 0.2, 0.4, 'single'),
    'base': Size((3, 3, 27, 3), [128, 256, 512, 1024], 89, 100, 0.4, 0.4, 'group'),
    'large': Size((3, 3, 27, 3), [192, 384, 768, 1536], 198, 100, 0.5, 0.4, 'group'),
    'huge': Size((3, 3, 27, 3), [352, 704, 1408, 2816], 660, 50, 0.5, 0.4, 'group'),
}
each_size = pytest.mark.parametrize('size', SIZES)
FCMAE_NAMES = {
    (size, epochs): f'fcmae_convnextv2-{size}_64xb64-amp-coslr-{epochs}e_in1k'
    for size in SIZES
    for epochs in (800, 1600)
    if epochs == 1600 or size in ('base', 'large', 'huge')  # those of table 4
}
SHARDED_NAMES = {way: f'fcmae_convnextv2-huge_64xb64-{way}-amp-coslr-1600e_in1k' for way in ('fsdp', 'zero1', 'zero2')}
FINETUNE_NAMES = {
    size: f'convnextv2-{size}-fcmae_32xb32-amp-coslr-{numbers.epochs}e_in1k' for size, numbers in SIZES.items()
}
FINETUNE_22K_NAMES = {
    size: f'convnextv2-{size}-fcmae_64xb64-amp-coslr-90e_in22k' for size in ('nano', 'tiny', 'base', 'large', 'huge')
}
FINETUNE_1K_AFTER_22K_NAMES = {
    (size, side): f'convnextv2-{size}-fcmae-ft22k_16xb32-amp-coslr-{epochs}e_in1k{suffix}'
    for size, epochs in [('nano', 90), ('tiny', 90), ('base', 30), ('large', 30), ('huge', 30)]
    for side, suffix in [(224, ''), (384, '-384px'), (512, '-512px')]
    if side in ((384, 512) if size == 'huge' else (224, 384))  # those of table 15
}
DETECTORS = [('mask-rcnn', size) for size in SIZES] + [
    ('cascade-mask-rcnn', size) for size in ('tiny', 'base', 'large')
]
DETECTOR_NAMES = {
    (method, size): f'{method}_convnextv2-{size}-fcmae_fpn_8xb4-amp-lsj-3x_coco' for method, size in DETECTORS
}
# Other heads of mmdet: folder, name, epochs, learning rate, batch, rate of the layer-wise decay of base, drop path as
# Mask R-CNN.
OTHER_DETECTORS = {
    'faster-rcnn': ('faster_rcnn', 'faster-rcnn_{}_fpn_8xb4-amp-lsj-3x_coco', 36, 1e-4, 32, 0.95),
    'cascade-mask-rcnn': ('cascade_mask_rcnn', 'cascade-mask-rcnn_{}_fpn_8xb4-amp-lsj-3x_coco', 36, 1e-4, 32, 0.95),
    'retinanet': ('retinanet', 'retinanet_{}_fpn_8xb4-amp-lsj-3x_coco', 36, 1e-4, 32, 0.95),
    'rtmdet': ('rtmdet', 'rtmdet_{}_8xb4-amp-lsj-100e_coco', 100, 2.5e-4, 32, 0.8),
    'rtmdet-ins': ('rtmdet', 'rtmdet-ins_{}_8xb4-amp-lsj-100e_coco', 100, 2.5e-4, 32, 0.8),
    'dino': ('dino', 'dino-4scale_{}_8xb2-lsj-36e_coco', 36, 1e-4, 16, 0.95),
    'mask2former': ('mask2former', 'mask2former_{}_8xb2-lsj-50e_coco', 50, 1e-4, 16, 0.95),
    'mask2former-panoptic': ('mask2former', 'mask2former_{}_8xb2-lsj-50e_coco-panoptic', 50, 1e-4, 16, 0.95),
}
# Of each other head, of mmdet and mmseg: from FCMAE weights, and on frozen features of DINOv3.
OTHER_WEIGHTS = {
    (size, start): name.format(size)
    for size in ('tiny', 'base')
    for start, name in [('FCMAE', 'convnextv2-{}-fcmae'), ('DINOv3, frozen', 'convnext-{}-dinov3-frozen')]
}
OTHER_DETECTOR_NAMES = {
    (method, *start): row[1].format(weights)
    for method, row in OTHER_DETECTORS.items()
    for start, weights in OTHER_WEIGHTS.items()
}
UPERNET_NAMES = {
    (size, weights): f'upernet_convnextv2-{size}-{weights}_8xb2-amp-160k_ade20k-{side}x{side}'
    for weights, sizes, side in [
        ('fcmae', SIZES, 512),
        ('fcmae-ft1k', SIZES, 512),
        ('fcmae-ft22k', ('base', 'large', 'huge'), 640),
    ]
    for size in sizes
}
# The table of the paper that compares V1 with V2, without and with FCMAE; the fourth, V2 with FCMAE, is above.
TABLE_3_NAMES = {
    'V1, FCMAE': 'fcmae_convnext-base_64xb64-amp-coslr-800e_in1k',
    'V1, FCMAE, then labels': 'convnext-base-fcmae_32xb32-amp-coslr-100e_in1k',
    'V1, labels': 'convnext-base_64xb64-amp-coslr-300e_in1k',
    'V2, labels': 'convnextv2-base_64xb64-amp-coslr-300e_in1k',
}
# Sizes of DINOv3's ConvNeXt: that of V2 with the same channels, and drop path of Mask R-CNN and of UperNet.
DINOV3 = {
    'tiny': ('tiny', 0.2, 0.4),
    'small': ('tiny', 0.3, 0.3),
    'base': ('base', 0.4, 0.4),
    'large': ('large', 0.5, 0.4),
}
DINOV3_NAMES = {
    (method, size, frozen): name.format(f'{size}-dinov3{"-frozen" if frozen else ""}')
    for method, name in [
        ('mask-rcnn', 'mask-rcnn_convnext-{}_fpn_8xb4-amp-lsj-3x_coco'),
        ('upernet', 'upernet_convnext-{}_8xb2-amp-160k_ade20k-512x512'),
    ]
    for size in DINOV3
    for frozen in (False, True)
}
# Heads on ADE20K that the paper does not have, by folder: whether in mixed precision.
OTHER_SEGMENTERS = {
    'segformer': 'amp-',
    'sem-fpn': 'amp-',
    'fcn': 'amp-',
    'deeplabv3plus': 'amp-',
    'mask2former-semantic': '',
}
OTHER_SEGMENTER_NAMES = {
    (method, *start): f'{method}_{weights}_8xb2-{amp}160k_ade20k-512x512'
    for method, amp in OTHER_SEGMENTERS.items()
    for start, weights in OTHER_WEIGHTS.items()
}
each_dinov3 = pytest.mark.parametrize(('method', 'size'), [key[:2] for key in DINOV3_NAMES if not key[2]])


def path_of(name: str) -> Path:
    """The config of that name, whose method, the first word, is its folder; a classifier's is the backbone."""
    method = name.split('_')[0].replace('-', '_')
    return ROOT / f'configs/{"imagenet" if method.startswith("convnext") else method}/{name}.py'


def recipe(name: str) -> Config:
    return load(path_of(name))


def pretrained(size: str) -> str:
    """The checkpoint where the recipe of pre-training leaves it: tools/train.py names the folder after the config."""
    name = FCMAE_NAMES[size, 1600]
    return f'work_dirs/{name}/epoch_{recipe(name).train_cfg.max_epochs}.pth'


def test_checkpoints_that_are_named_are_the_last_of_their_trainings():
    """In settings, comments and docs alike."""
    paths = {path.stem: path for path in CONFIGS}
    files = [ROOT / 'README.md', *(ROOT / 'configs').rglob('*.py'), *(ROOT / 'docs').rglob('*.md')]
    named = {
        (name, int(epoch))
        for path in files
        for name, epoch in re.findall(r'work_dirs/([\w-]+)/epoch_(\d+)\.pth', path.read_text())
        if name in paths
    }
    assert {name for name, _ in named} >= {'fcmae_convnextv2-atto_nuclei', 'fcmae_convnextv2-atto_toy-scenes'}
    assert named == {(name, load(paths[name]).train_cfg.max_epochs) for name, _ in named}


def test_there_are_these_recipes_and_no_others():
    fine_tuned = (FINETUNE_NAMES, FINETUNE_22K_NAMES, FINETUNE_1K_AFTER_22K_NAMES)
    detectors = (DETECTOR_NAMES, OTHER_DETECTOR_NAMES)
    tables = (FCMAE_NAMES, SHARDED_NAMES, *fine_tuned, TABLE_3_NAMES, *detectors, UPERNET_NAMES, DINOV3_NAMES)
    tables += (OTHER_SEGMENTER_NAMES,)
    names = {name for table in tables for name in table.values()}
    found = {path.stem for path in CONFIGS if path.parent.name not in ('checks', 'toy', 'evidence', 'own_data')}
    others = {'fcmae_convnextv2-atto_1xb64-coslr-14e_small-folder', DENSE_LINEAR.stem}
    assert found == names | others


@each_size
def test_parameters(size):
    """With the last output norm and a head of 1000 classes the backbone is the paper's classifier."""
    expected = SIZES[size]
    with torch.device('meta'):
        backbone = registry.MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch=size))
    assert tuple(len(stage) for stage in backbone.stages) == expected.depths
    parameters = sum(
        parameter.numel()
        for name, parameter in backbone.named_parameters()
        if not name.startswith(('norm0', 'norm1', 'norm2'))
    )
    parameters += (expected.channels[-1] + 1) * 1000
    assert round(parameters / 1e6, 1 if expected.millions < 50 else 0) == expected.millions


@pytest.mark.parametrize(('size', 'millions'), [('base', 122), ('large', 235), ('huge', 707)])
def test_parameters_of_upernet(size, millions):
    """Those of the paper, table 7."""
    model = build(recipe(UPERNET_NAMES[size, 'fcmae-ft1k']))
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == millions


@pytest.mark.parametrize(('size', 'epochs'), FCMAE_NAMES, ids=FCMAE_NAMES.values())
def test_fcmae_of_a_size(size, epochs):
    cfg = recipe(FCMAE_NAMES[size, epochs])
    assert cfg.model.backbone == dict(type='ConvNeXtV2', arch=size)
    assert cfg.optim_wrapper.optimizer.lr == 2.4e-3
    assert cfg.train_cfg.max_epochs == cfg.max_epochs == epochs
    warmup, cosine = cfg.param_scheduler
    assert (warmup.begin, warmup.end) == (0, 40)
    assert cosine.begin == 40 and not {'end', 'T_max'} & cosine.keys()  # ends with the training
    # All else is that of the base config.
    base = load(FCMAE)
    for key in ('train_dataloader', 'default_hooks', 'custom_hooks', 'env_cfg'):
        assert cfg[key] == base[key]


@pytest.mark.parametrize('way', SHARDED_NAMES)
def test_sharding_changes_nothing_else(way):
    cfg, whole = recipe(SHARDED_NAMES[way]), recipe(FCMAE_NAMES['huge', 1600])
    assert cfg.runner_type == 'FlexibleRunner'
    stage = cfg.strategy.get('zero_optimization', {}).get('stage')
    assert (cfg.strategy.type, stage) == {
        'fsdp': ('mmcnv2.FSDPStrategy', None),
        'zero1': ('DeepSpeedStrategy', 1),
        'zero2': ('DeepSpeedStrategy', 2),
    }[way]
    assert registry.STRATEGIES.get(cfg.strategy.type) is not None
    for key in ('optimizer', 'paramwise_cfg'):
        assert cfg.optim_wrapper[key] == whole.optim_wrapper[key]
    for key in whole.keys() - {'optim_wrapper'}:
        assert cfg[key] == whole[key]


def test_unused_parameters_are_not_looked_for():
    """Every parameter has a gradient (tests/test_tools/test_distributed.py): DDP need not search for those without."""
    files = list((ROOT / 'configs').rglob('*.py'))
    assert files and not any('find_unused_parameters' in path.read_text() for path in files)


def on_8_gpus(size: str, epochs: int) -> Config:
    """The recipe with the option of docs/reference/recipes.md, as ``tools/train.py`` reads it."""
    text = next((ROOT / 'docs').rglob('recipes.md')).read_text()
    (option,) = re.findall(r'`--cfg-options\s+(optim_wrapper\.\S+)`, 8 GPUs make the same steps', text)
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    path = path_of(FCMAE_NAMES[size, epochs])
    return load_config(parser.parse_args([str(path), '--cfg-options', option]))


@pytest.mark.parametrize(('size', 'epochs'), FCMAE_NAMES, ids=FCMAE_NAMES.values())
def test_accumulation_changes_nothing_else(size, epochs):
    whole, parts = recipe(FCMAE_NAMES[size, epochs]), on_8_gpus(size, epochs)
    assert parts.optim_wrapper.accumulative_counts == 8
    assert dict(parts.optim_wrapper) == dict(whole.optim_wrapper, accumulative_counts=8)
    for key in whole.keys() - {'optim_wrapper'}:
        assert parts[key] == whole[key], key
    # The images of a step (MMEngine alone would compare those of an iteration with it).
    images = 8 * parts.train_dataloader.batch_size * parts.optim_wrapper.accumulative_counts
    assert images == parts.auto_scale_lr.base_batch_size == 4096


def test_accumulation_with_auto_scale_lr(tmp_path):
    """One process with 64 images, eight iterations a step: the paper's lr for 512 images, 1.5e-4 * 512 / 256."""
    cfg = on_8_gpus('atto', 1600)
    cfg.work_dir = str(tmp_path)
    cfg.auto_scale_lr.enable = True
    runner = build_runner(cfg)
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(wrapper, runner.auto_scale_lr)
    rates = [group['lr'] for group in wrapper.optimizer.param_groups]
    assert rates == pytest.approx([3e-4] * len(rates))


def test_iterations_and_steps_of_accumulation():
    """The table of the page, from the recipes; ImageNet-1k has 1281167 images, and what is over is dropped."""
    text = next((ROOT / 'docs').rglob('recipes.md')).read_text()
    table = {label: (a, b) for label, a, b in re.findall(r'^\| (i.+|s.+) \| ([\d, ]+) \| ([\d, ]+) \|$', text, re.M)}
    rows = []
    for cfg, num_gpus in [(recipe(FCMAE_NAMES['base', 1600]), 64), (on_8_gpus('base', 1600), 8)]:
        assert cfg.train_dataloader.drop_last
        counts = cfg.optim_wrapper.get('accumulative_counts', 1)
        images = num_gpus * cfg.train_dataloader.batch_size
        length = 1281167 // images
        iterations = length * cfg.train_cfg.max_epochs
        rows.append((f'{images}, {images * counts}', str(length), str(iterations), str(iterations // counts)))
    labels = (
        'images of an iteration, of a step',
        'iterations of an epoch',
        'iterations of 1600 epochs',
        'steps of 1600 epochs',
    )
    assert table == dict(zip(labels, zip(*rows, strict=True), strict=True))
    # A checkpoint is written between two steps.
    assert 2502 * recipe(FCMAE_NAMES['base', 1600]).default_hooks.checkpoint.interval == 8 * 6255


def test_accumulation_is_the_same_schedule():
    """One iteration an epoch on 64 GPUs is eight on 8 GPUs: the learning rate is the same where epochs end."""
    whole, parts = recipe(FCMAE_NAMES['base', 800]), on_8_gpus('base', 800)
    epochs = (20, 40, 300, 799)
    rates = learning_rates(whole, 1, set(epochs))
    rates_of_parts = learning_rates(parts, 8, {8 * epoch for epoch in epochs})
    for epoch in epochs:
        assert rates_of_parts[8 * epoch] == pytest.approx(rates[epoch], rel=0.03)


def test_accumulation_is_the_same_step():
    """Eight iterations are one step, with the mean of their gradients."""
    wrapper = on_8_gpus('base', 800).optim_wrapper
    images = torch.randn(16, 3)

    def parameter_after(batches: tuple[torch.Tensor, ...], counts: int) -> list[torch.Tensor]:
        parameter = nn.Parameter(torch.ones(3))
        optimizer = OptimWrapper(torch.optim.SGD([parameter], lr=0.1), accumulative_counts=counts)
        optimizer.initialize_count_status(nn.Identity(), 0, len(batches))
        values = []
        for batch in batches:
            optimizer.update_params((batch @ parameter).square().mean())
            values.append(parameter.detach().clone())
        return values

    (whole,) = parameter_after((images,), 1)
    parts = parameter_after(images.split(2), wrapper['accumulative_counts'])
    assert all(torch.equal(value, torch.ones(3)) for value in parts[:-1])
    torch.testing.assert_close(parts[-1], whole)


# Tables 9 to 11 of the paper, lr = base lr * 1024 / 256 (docs/reference/recipes.md on that of base, large and huge):
# lr, warm-up epochs, weight decay, layer-wise decay, drop path, mixup, cutmix, label smoothing.
FINETUNE = {
    'atto': (8e-4, 0, 0.3, 0.9, 0.1, 0.0, 0.0, 0.2),
    'femto': (8e-4, 0, 0.05, 0.9, 0.0, 0.3, 0.3, 0.2),
    'pico': (8e-4, 0, 0.3, 0.9, 0.0, 0.3, 0.3, 0.2),
    'nano': (8e-4, 0, 0.3, 0.9, 0.1, 0.5, 0.5, 0.2),
    'tiny': (3.2e-3, 40, 0.05, 0.9, 0.2, 0.8, 1.0, 0.1),
    'base': (2.5e-3, 20, 0.05, 0.6, 0.1, 0.8, 1.0, 0.1),
    'large': (2.5e-3, 20, 0.05, 0.6, 0.2, 0.8, 1.0, 0.1),
    'huge': (5e-4, 10, 0.05, 0.75, 0.3, 0.8, 1.0, 0.1),
}


@each_size
def test_finetuning_of_a_size(size):
    cfg, expected = recipe(FINETUNE_NAMES[size]), SIZES[size]
    lr, warmup_epochs, weight_decay, layer_decay, drop_path, mixup, cutmix, smoothing = FINETUNE[size]
    backbone, head = cfg.model.backbone, cfg.model.head
    assert (backbone.arch, backbone.drop_path_rate) == (size, drop_path)
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint=pretrained(size), prefix='backbone.')
    assert (head.in_channels, head.num_classes) == (expected.channels[-1], 1000)
    assert head.loss == dict(type='LabelSmoothLoss', label_smooth_val=smoothing, mode='original')
    augments = cfg.model.train_cfg.augments if mixup else cfg.model.train_cfg
    assert augments == ([dict(type='Mixup', alpha=mixup), dict(type='CutMix', alpha=cutmix)] if mixup else None)
    assert (cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay) == (lr, weight_decay)
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_rate=layer_decay, decay_type=expected.decay_type)
    assert cfg.train_cfg.max_epochs == expected.epochs
    assert dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL') in cfg.custom_hooks

    # Ten iterations an epoch: from almost nothing to lr where the warm-up ends, then a cosine to 1e-6.
    end = 10 * expected.epochs
    rates = learning_rates(cfg, 10, {0, 10 * warmup_epochs, end - 1})
    assert rates[10 * warmup_epochs] == pytest.approx(lr)
    assert rates[0] == pytest.approx(lr * 1e-4 if warmup_epochs else lr)
    assert rates[end - 1] == pytest.approx(1e-6, rel=0.05)


# Table 12: layer-wise decay, drop path. Table 13: layer-wise decay, drop path, averaged weights.
FINETUNE_22K = {'nano': (0.9, 0.0), 'tiny': (0.9, 0.0), 'base': (0.8, 0.1), 'large': (0.8, 0.1), 'huge': (0.8, 0.3)}
FINETUNE_1K_AFTER_22K = {
    'nano': (0.9, 0.1, True),
    'tiny': (0.9, 0.1, True),
    'base': (0.8, 0.2, True),
    'large': (0.8, 0.3, True),
    'huge': (0.85, 0.5, False),
}


@pytest.mark.parametrize('size', FINETUNE_22K)
def test_finetuning_on_imagenet_22k(size):
    cfg, expected = recipe(FINETUNE_22K_NAMES[size]), SIZES[size]
    layer_decay, drop_path = FINETUNE_22K[size]
    assert (cfg.model.backbone.arch, cfg.model.backbone.drop_path_rate) == (size, drop_path)
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=pretrained(size), prefix='backbone.')
    assert (cfg.model.head.in_channels, cfg.model.head.num_classes) == (expected.channels[-1], 21841)
    assert cfg.model.head.loss == dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
    assert cfg.model.train_cfg.augments == [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (2.5e-4 * 4096 / 256, 0.05)
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_rate=layer_decay, decay_type=expected.decay_type)
    assert cfg.custom_hooks == [dict(type='mmcnv2.ThroughputHook')]
    assert cfg.train_cfg.max_epochs == 90
    assert cfg.train_dataloader.dataset.type == 'ImageNet21k'
    # A runner wants all three of them or none.
    for split in ('val', 'test'):
        assert [cfg[f'{split}_{part}'] for part in ('dataloader', 'evaluator', 'cfg')] == [None] * 3

    rates = learning_rates(cfg, 10, {0, 50, 475, 899})
    assert rates[0] == pytest.approx(4e-7)
    assert rates[50] == pytest.approx(4e-3)
    assert rates[475] == pytest.approx(2e-3, rel=0.001)  # half-way between epochs 5 and 90
    assert rates[899] == pytest.approx(1e-6, rel=0.5)


@pytest.mark.parametrize(('size', 'side'), FINETUNE_1K_AFTER_22K_NAMES)
def test_finetuning_on_imagenet_1k_after_22k(size, side):
    cfg, expected = recipe(FINETUNE_1K_AFTER_22K_NAMES[size, side]), SIZES[size]
    layer_decay, drop_path, averaged = FINETUNE_1K_AFTER_22K[size]
    checkpoint = f'work_dirs/{FINETUNE_22K_NAMES[size]}/epoch_90.pth'
    assert (cfg.model.backbone.arch, cfg.model.backbone.drop_path_rate) == (size, drop_path)
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    assert cfg.model.head.init_cfg.override.checkpoint == checkpoint
    assert (cfg.model.head.in_channels, cfg.model.head.num_classes) == (expected.channels[-1], 1000)
    assert cfg.model.head.loss == dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
    assert cfg.model.train_cfg is None
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (2.5e-5 * 512 / 256, 1e-8)
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_rate=layer_decay, decay_type=expected.decay_type)
    assert (dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL') in cfg.custom_hooks) == averaged
    epochs = 90 if expected.decay_type == 'single' else 30
    assert cfg.train_cfg.max_epochs == epochs
    rates = learning_rates(cfg, 10, {0, 5 * epochs, 10 * epochs - 1})
    assert list(rates.values()) == pytest.approx([5e-5, 2.55e-5, 1e-6], rel=0.01)

    assert cfg.train_dataloader.dataset.pipeline[1].scale == side
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        _, *resizing, _ = loader.dataset.pipeline
        if side == 224:
            assert (resizing[0].type, resizing[0].scale, resizing[1].crop_size) == ('ResizeEdge', 256, 224)
        else:
            assert [(step.type, tuple(step.scale)) for step in resizing] == [('Resize', (side, side))]


def test_norm_of_the_head_comes_from_22k_and_the_linear_layer_is_fresh(tmp_path):
    """As in the official code, where the norm belongs to the network and only a head of another size is dropped."""
    cfg = recipe(FINETUNE_1K_AFTER_22K_NAMES['nano', 224])
    norm = dict(weight=torch.rand(640), bias=torch.rand(640))
    weights = {f'head.norm.{key}': value for key, value in norm.items()}
    weights |= {'head.fc.weight': torch.ones(21841, 640), 'head.fc.bias': torch.ones(21841)}
    torch.save(dict(state_dict=weights), tmp_path / 'epoch_90.pth')
    cfg.model.head.init_cfg.override.checkpoint = str(tmp_path / 'epoch_90.pth')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        head = registry.MODELS.build(cfg.model.head)
    torch.manual_seed(0)  # a rare draw of trunc_normal_ is its bound of 2
    head.init_weights()
    assert all(torch.equal(head.norm.state_dict()[key], value) for key, value in norm.items())
    assert head.fc.weight.detach().std() == pytest.approx(2e-5, rel=0.01)
    assert not head.fc.bias.any()


def test_parameters_of_the_classifier():
    for size in ('atto', 'base'):
        model = build(recipe(FINETUNE_NAMES[size]))
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        assert round(millions, 1 if size == 'atto' else 0) == SIZES[size].millions


@pytest.mark.parametrize(('method', 'size'), DETECTORS)
def test_detector_of_a_size(method, size):
    cfg, expected = recipe(DETECTOR_NAMES[method, size]), SIZES[size]
    backbone = cfg.model.backbone
    assert (backbone.arch, backbone.drop_path_rate) == (size, expected.mask_rcnn_drop_path)
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint=pretrained(size), prefix='backbone.')
    assert cfg.model.neck.in_channels == expected.channels
    assert cfg.optim_wrapper.optimizer.lr == 1e-4
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_rate=0.95, decay_type=expected.decay_type)
    assert cfg.model.roi_head.type == ('StandardRoIHead' if method == 'mask-rcnn' else 'CascadeRoIHead')
    # All else is that of the base config of Mask R-CNN.
    base = load(MASK_RCNN)
    assert cfg.model.test_cfg == base.model.test_cfg
    assert cfg.model.data_preprocessor == base.model.data_preprocessor
    for key in ('train_dataloader', 'val_dataloader', 'param_scheduler', 'train_cfg', 'default_hooks'):
        assert cfg[key] == base[key]


def assert_frozen_features_of_dinov3(cfg: Config, size: str) -> None:
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.arch, backbone.frozen_stages) == ('mmcnv2.ConvNeXt', size, 4)
    assert not backbone.get('drop_path_rate')
    checkpoint = f'timm://convnext_{size}.dinov3_lvd1689m'
    assert backbone.init_cfg == dict(type='mmcnv2.PretrainedConvNeXt', checkpoint=checkpoint)


@pytest.mark.parametrize('method', OTHER_SEGMENTERS)
@pytest.mark.parametrize('size', ['tiny', 'base'])
def test_frozen_backbone_of_another_segmenter(method, size):
    """The backbone is all that differs from the recipe from FCMAE weights; the maps fit what follows them."""
    frozen, tuned = (recipe(OTHER_SEGMENTER_NAMES[method, size, start]) for start in ('DINOv3, frozen', 'FCMAE'))
    assert without(frozen, 'model.backbone') == without(tuned, 'model.backbone')
    assert_frozen_features_of_dinov3(frozen, size)
    part = frozen.model.get('neck') or frozen.model.decode_head
    channels = SIZES[size].channels
    assert part.in_channels in (channels, channels[-1])


@pytest.mark.parametrize('method', OTHER_DETECTORS)
def test_other_detector(method):
    folder, _, epochs, lr, batch, rate = OTHER_DETECTORS[method]
    cfgs = {
        start: load(ROOT / f'configs/{folder}/{OTHER_DETECTOR_NAMES[(method, *start)]}.py') for start in OTHER_WEIGHTS
    }
    for size in ('tiny', 'base'):
        cfg, expected = cfgs[size, 'FCMAE'], SIZES[size]
        backbone = cfg.model.backbone
        assert (backbone.arch, backbone.drop_path_rate) == (size, expected.mask_rcnn_drop_path)
        assert backbone.init_cfg == dict(type='Pretrained', checkpoint=pretrained(size), prefix='backbone.')
        # The maps that the backbone gives are those that the neck or head takes.
        channels = [expected.channels[i] for i in backbone.get('out_indices', range(4))]
        part = cfg.model.get('neck') or cfg.model.panoptic_head
        assert part.in_channels == channels
        decay = cfg.optim_wrapper.paramwise_cfg
        assert decay.decay_type == expected.decay_type
        # RTMDet's 0.8 is of three blocks: a single one has its third root.
        wanted = rate ** (1 / 3) if (size, rate) == ('tiny', 0.8) else rate
        assert decay.decay_rate == pytest.approx(wanted, abs=5e-4)
        assert cfg.optim_wrapper.optimizer.lr == pytest.approx(lr)
        assert cfg.train_cfg.max_epochs == epochs and cfg.auto_scale_lr.base_batch_size == batch
        resize, crop = cfg.train_dataloader.dataset.pipeline[2:4]
        assert (tuple(resize.scale), tuple(resize.ratio_range)) == ((1024, 1024), (0.1, 2.0))
        assert tuple(crop.crop_size) == tuple(cfg.model.data_preprocessor.batch_augments[0].size) == (1024, 1024)
        assert cfg.model.data_preprocessor.pad_size_divisor == 32
        frozen = cfgs[size, 'DINOv3, frozen']
        assert without(frozen, 'model.backbone') == without(cfg, 'model.backbone')
        assert_frozen_features_of_dinov3(frozen, size)
    model = build(frozen)
    assert isinstance(model.backbone, ConvNeXt)
    trained = {name.split('.')[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained and 'backbone' not in trained
    # What is spared from weight decay besides vectors: the embeddings of queries and levels, and nothing else.
    groups = build_optimizer(frozen, model).param_groups
    assert {group['lr'] for group in groups} == {lr}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    spared = {
        names[id(parameter)]
        for group in groups
        for parameter in group['params']
        if not group['weight_decay'] and parameter.ndim > 1
    }
    if folder == 'mask2former':
        assert spared == {f'panoptic_head.{name}.weight' for name in ('query_embed', 'query_feat', 'level_embed')}
    elif folder == 'dino':
        assert spared == {'level_embed', 'query_embedding.weight', 'dn_query_generator.label_embedding.weight'}
    else:
        assert not spared


@pytest.mark.parametrize(('size', 'weights'), UPERNET_NAMES, ids=UPERNET_NAMES.values())
def test_upernet_of_a_size(size, weights):
    cfg, expected = recipe(UPERNET_NAMES[size, weights]), SIZES[size]
    checkpoint = {
        'fcmae': pretrained(size),
        'fcmae-ft1k': f'work_dirs/convnextv2-{size}-fcmae_32xb32-amp-coslr-{expected.epochs}e_in1k/'
        f'epoch_{expected.epochs}.pth',
        'fcmae-ft22k': f'work_dirs/convnextv2-{size}-fcmae_64xb64-amp-coslr-90e_in22k/epoch_90.pth',
    }[weights]
    backbone = cfg.model.backbone
    assert (backbone.arch, backbone.drop_path_rate) == (size, expected.upernet_drop_path)
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    assert (cfg.model.decode_head.in_channels, cfg.model.decode_head.channels) == (expected.channels, 512)
    assert (cfg.model.auxiliary_head.in_channels, cfg.model.auxiliary_head.in_index) == (expected.channels[2], 2)
    assert cfg.optim_wrapper.optimizer.lr == 1e-4
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_rate=0.9, decay_type=expected.decay_type)

    side = 640 if weights == 'fcmae-ft22k' else 512
    resize, crop = cfg.train_dataloader.dataset.pipeline[2:4]
    assert tuple(cfg.model.data_preprocessor.size) == tuple(crop.crop_size) == (side, side)
    assert tuple(resize.scale) == (4 * side, side)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.pipeline[1].scale) == (4 * side, side)
    scales = [tuple(resize.scale) for resize in cfg.tta_pipeline[1].transforms[0]]
    assert scales == [(int(4 * side * r), int(side * r)) for r in (0.75, 0.875, 1.0, 1.125, 1.25)]
    # All else is that of the base config.
    base = load(UPERNET)
    for key in ('param_scheduler', 'train_cfg', 'default_hooks', 'log_processor'):
        assert cfg[key] == base[key]


# ---- V1 beside V2, and DINOv3 ----


def without(cfg: Config, *settings: str) -> dict:
    """The config as a dict, without some settings, each of which must be there."""
    content = cfg.to_dict()
    for setting in settings:
        *folders, name = setting.split('.')
        part = content
        for folder in folders:
            part = part[folder]
        del part[name]
    return content


def build_optimizer(cfg: Config, model: nn.Module) -> torch.optim.Optimizer:
    """That of the recipe, without AMP, which needs a GPU."""
    kept = {key: cfg.optim_wrapper[key] for key in ('optimizer', 'constructor', 'paramwise_cfg')}
    return build_optim_wrapper(model, kept).optimizer


def test_fcmae_of_the_first_version():
    """The network is all that differs from V2, with the same kind of block in the decoder."""
    cfg, v2 = recipe(TABLE_3_NAMES['V1, FCMAE']), recipe(FCMAE_NAMES['base', 800])
    assert (cfg.model.backbone.type, v2.model.backbone.type) == ('ConvNeXt', 'ConvNeXtV2')
    assert without(cfg, 'model.backbone.type') == without(v2, 'model.backbone.type')
    model = build(cfg)
    assert isinstance(model.backbone, ConvNeXt)
    assert [type(block) for block in model.decoder] == [ConvNeXtBlock]


def test_finetuning_of_the_first_version():
    """The network and its weights are all that differs from V2."""
    cfg, v2 = recipe(TABLE_3_NAMES['V1, FCMAE, then labels']), recipe(FINETUNE_NAMES['base'])
    assert (cfg.model.backbone.type, v2.model.backbone.type) == ('mmcnv2.ConvNeXt', 'mmcnv2.ConvNeXtV2')
    checkpoint = f'work_dirs/{TABLE_3_NAMES["V1, FCMAE"]}/epoch_800.pth'
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    differing = ('model.backbone.type', 'model.backbone.init_cfg')
    assert without(cfg, *differing) == without(v2, *differing)


def test_supervised_training_of_both_versions():
    """Table 5 of the paper of V1 (arXiv 2201.03545), for base."""
    cfg, v2 = recipe(TABLE_3_NAMES['V1, labels']), recipe(TABLE_3_NAMES['V2, labels'])
    assert (cfg.model.backbone.type, v2.model.backbone.type) == ('mmcnv2.ConvNeXt', 'mmcnv2.ConvNeXtV2')
    assert without(cfg, 'model.backbone.type') == without(v2, 'model.backbone.type')

    assert (cfg.model.backbone.arch, cfg.model.backbone.drop_path_rate) == ('base', 0.5)
    assert 'init_cfg' not in cfg.model.backbone
    assert LAYER_SCALE == 1e-6
    assert cfg.model.head.loss == dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
    assert cfg.model.train_cfg.augments == [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert steps['RandomResizedCrop'].scale == 224
    augment = steps['RandAugment']
    assert (augment.num_policies, augment.magnitude_level, augment.magnitude_std) == (2, 9, 0.5)
    assert steps['RandomErasing'].erase_prob == 0.25
    assert dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL') in cfg.custom_hooks

    # 'trunc. normal' of the weights is 0.02 in the official code, the head's too.
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        head = registry.MODELS.build(cfg.model.head)
    head.init_weights()
    assert head.fc.weight.detach().std() == pytest.approx(0.02, rel=0.01)

    optimizer = build_optimizer(cfg, build(cfg))
    assert isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        assert (group['lr'], group['betas']) == (4e-3, (0.9, 0.999))
        ndims = {parameter.ndim for parameter in group['params']}
        assert group['weight_decay'] == (0 if ndims == {1} else 0.05)
        assert ndims == {1} or 1 not in ndims

    # Ten iterations an epoch: 20 epochs of warm-up, half of the cosine at (20 + 300) / 2 epochs.
    assert cfg.train_cfg.max_epochs == 300
    rates = learning_rates(cfg, 10, {0, 100, 200, 1600, 2999})
    assert list(rates.values()) == pytest.approx([4e-7, 2e-3, 4e-3, 2e-3, 1e-6], rel=0.2)
    assert rates[200] == pytest.approx(4e-3)


@each_dinov3
def test_fine_tuning_of_dinov3(method, size):
    """The backbone is all that differs from the recipe from FCMAE weights, and the type of layer-wise decay."""
    cfg = recipe(DINOV3_NAMES[method, size, False])
    v2_size, *drop_paths = DINOV3[size]
    is_detector = method == 'mask-rcnn'
    assert cfg.model.backbone == dict(
        type='mmcnv2.ConvNeXt',
        arch=size,
        drop_path_rate=drop_paths[0 if is_detector else 1],
        init_cfg=dict(type='mmcnv2.PretrainedConvNeXt', checkpoint=f'timm://convnext_{size}.dinov3_lvd1689m'),
    )
    assert cfg.optim_wrapper.paramwise_cfg == dict(decay_rate=0.95 if is_detector else 0.9, decay_type='group')
    v2 = recipe(DETECTOR_NAMES[method, v2_size] if is_detector else UPERNET_NAMES[v2_size, 'fcmae'])
    differing = ('model.backbone', 'optim_wrapper.paramwise_cfg')
    assert without(cfg, *differing) == without(v2, *differing)
    # Heads and neck take the channels of this size.
    model = build(cfg)
    channels = model.neck.in_channels if is_detector else model.decode_head.in_channels
    assert tuple(channels) == model.backbone.channels
    # The images are normalised as the weights were trained.
    theirs = timm.get_pretrained_cfg(f'convnext_{size}.dinov3_lvd1689m')
    for ours, wanted in [('mean', theirs.mean), ('std', theirs.std)]:
        assert list(cfg.model.data_preprocessor[ours]) == pytest.approx([255 * value for value in wanted])
    assert cfg.model.data_preprocessor.bgr_to_rgb


@each_dinov3
def test_dinov3_as_it_is(method, size):
    """Nothing of the backbone is trained, and the heads have the full learning rate."""
    cfg, tuned = recipe(DINOV3_NAMES[method, size, True]), recipe(DINOV3_NAMES[method, size, False])
    assert cfg.model.backbone == dict(tuned.model.backbone, frozen_stages=4, drop_path_rate=0.0)
    assert without(cfg, 'model.backbone') == without(tuned, 'model.backbone')
    model = build(cfg).train()
    layers = [module for module in model.backbone.modules() if not list(module.children())]
    assert layers and not any(layer.training for layer in layers)
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    groups = build_optimizer(cfg, model).param_groups
    trained = {id(parameter) for group in groups for parameter in group['params']}
    heads = {id(parameter) for name, parameter in model.named_parameters() if not name.startswith('backbone.')}
    assert trained == heads
    assert {group['lr'] for group in groups} == {1e-4}


@pytest.mark.parametrize('path', [DENSE_LINEAR, *sorted((ROOT / 'configs/evidence').glob('dense-linear_*.py'))])
def test_dense_linear_probe(path):
    """A logit is a weighted sum of the four maps at a position, and nothing else is trained."""
    cfg = load(path)
    cfg.model.backbone.update(arch=dict(depths=(1, 1, 1, 1), channels=(4, 8, 12, 16)), init_cfg=None)
    cfg.model.decode_head.update(in_channels=[4, 8, 12, 16], channels=40, num_classes=3)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = registry.MODELS.build(cfg.model).train()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name: parameter.shape for name, parameter in trained.items()} == {
        'decode_head.conv_seg.weight': (3, 40, 1, 1),
        'decode_head.conv_seg.bias': (3,),
    }
    images = torch.randn(2, 3, 64, 96)
    maps = model.backbone(images)
    for map_ in maps:  # normalised: mean 0 and variance 1 over the channels of a position
        torch.testing.assert_close(map_.var(1, correction=0), torch.ones_like(map_[:, 0]), rtol=0.02, atol=0)
    enlarged = [F.interpolate(map_, (16, 24), mode='bilinear', align_corners=False) for map_ in maps]
    weights = trained['decode_head.conv_seg.weight'][:, :, 0, 0].split([4, 8, 12, 16], 1)
    expected = trained['decode_head.conv_seg.bias'].reshape(3, 1, 1) + sum(
        torch.einsum('kc,nchw->nkhw', weight, map_) for weight, map_ in zip(weights, enlarged, strict=True)
    )
    torch.testing.assert_close(model.decode_head(maps), expected, rtol=1e-4, atol=1e-5)


def test_weights_of_dinov3_load(tmp_path):
    """In timm's format, as the recipe would download them: the maps are timm's, normalised at each position."""
    theirs = timm.create_model('convnext_tiny', num_classes=0).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.5)
    torch.save(theirs.state_dict(), tmp_path / 'dinov3.pth')
    cfg = recipe(DINOV3_NAMES['upernet', 'tiny', True])
    cfg.model.backbone.init_cfg.checkpoint = str(tmp_path / 'dinov3.pth')
    backbone = registry.MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    fresh = {f'norm{i}.{kind}' for i in range(4) for kind in ('weight', 'bias')}
    own = backbone.state_dict()
    # The norm after the pooling, 'head.norm', is not one of a map.
    assert len(own.keys() - fresh) == len(theirs.state_dict()) - 2
    assert all(torch.equal(own[name], torch.full_like(own[name], float('weight' in name))) for name in fresh)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = theirs.forward_intermediates(images, intermediates_only=True)
        for actual, wanted in zip(backbone.train()(images), expected, strict=True):
            normalised = F.layer_norm(wanted.permute(0, 2, 3, 1), wanted.shape[1:2], eps=1e-6).permute(0, 3, 1, 2)
            torch.testing.assert_close(actual, normalised, rtol=1e-4, atol=1e-4)


# ---- the full-size recipes run on real images ----


NARROW = SIZES['atto'].channels


def narrow_backbone() -> dict[str, dict]:
    """As deep as base and as narrow as atto, so that two iterations take seconds."""
    return {'model.backbone.arch': dict(_delete_=True, depths=SIZES['base'].depths, channels=NARROW)}


def run(path: Path, work_dir: Path, options: dict, checkpoint: bool = False) -> Runner:
    """Train, and validate where the recipe does, without AMP (which needs a GPU) and without workers."""
    cfg = load(path)
    cfg.merge_from_dict(options)
    cfg.optim_wrapper = {k: v for k, v in cfg.optim_wrapper.items() if k not in ('type', 'dtype', 'loss_scale')}
    for split in ('train', 'val'):
        if f'{split}_dataloader' in cfg:
            cfg[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False, pin_memory=False)
    for part in ('cfg', 'dataloader', 'evaluator'):
        cfg.pop(f'test_{part}', None)
    if not checkpoint:
        cfg.default_hooks.checkpoint = None  # a gigabyte
    cfg.work_dir, cfg.launcher = str(work_dir), 'none'
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 2
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    return runner


@pytest.mark.parametrize('path', [FCMAE, path_of(TABLE_3_NAMES['V1, FCMAE'])], ids=['V2', 'V1'])
def test_fcmae_recipe_runs(path, samples, tmp_path):
    options = {
        'train_dataloader.dataset.data_root': str(samples / 'imagenet1000'),
        'train_dataloader.dataset.indices': 4,
        'train_dataloader.dataset.pipeline.0.size': 128,
        'train_dataloader.batch_size': 2,
        'train_cfg.max_epochs': 1,
    }
    runner = run(path, tmp_path, options | narrow_backbone())
    assert len(runner.model.backbone.stages[2]) == 27
    # A fresh decoder predicts nothing: the error is the variance of normalised patches.
    assert runner.message_hub.get_scalar('train/loss').mean() == pytest.approx(1.0, abs=0.1)
    assert (tmp_path / 'reconstructions/epoch_1.png').is_file()


@pytest.mark.parametrize('method', ['mask-rcnn', 'cascade-mask-rcnn'])
@pytest.mark.slow
def test_detection_recipe_runs(method, samples, tmp_path):
    options = {
        'model.backbone.init_cfg': None,
        'model.neck.in_channels': NARROW,
        'model.data_preprocessor.batch_augments.0.size': (128, 128),
        'train_dataloader.dataset.pipeline.2.scale': (128, 128),
        'train_dataloader.dataset.pipeline.3.crop_size': (128, 128),
        'train_dataloader.dataset.data_root': str(samples / 'coco200'),
        'train_dataloader.dataset.indices': 2,
        'train_dataloader.batch_size': 1,
        'val_dataloader.dataset.pipeline.1.scale': (128, 128),
        'val_dataloader.dataset.data_root': str(samples / 'coco200'),
        'val_dataloader.dataset.indices': 1,
        'val_evaluator.ann_file': str(samples / 'coco200/annotations/instances_val2017.json'),
        'train_cfg.max_epochs': 1,
        'auto_scale_lr.enable': True,
    }
    # Fewer regions and narrower heads than the recipe, for the time it takes.
    options['model.test_cfg.rpn.max_per_img'] = 100
    for stage in [''] if method == 'mask-rcnn' else ['.0', '.1', '.2']:
        options[f'model.train_cfg.rcnn{stage}.sampler.num'] = 64
        options[f'model.roi_head.bbox_head{stage}.fc_out_channels'] = 64
    runner = run(path_of(DETECTOR_NAMES[method, 'base']), tmp_path, options | narrow_backbone())
    # --auto-scale-lr: a batch of 1 instead of 32. The scales of the layers stay: 0.95 ** 13 for the stem.
    lr = {group['layer_id']: group['initial_lr'] for group in runner.optim_wrapper.optimizer.param_groups}
    assert lr[13] == pytest.approx(1e-4 / 32)
    assert lr[0] == pytest.approx(0.513342 * 1e-4 / 32, rel=1e-4)


@pytest.mark.parametrize('method', ['retinanet', 'rtmdet-ins', 'mask2former'])
@pytest.mark.slow
def test_other_detection_recipe_runs(method, samples, tmp_path):
    """With a shallow backbone, and otherwise as Mask R-CNN above; averaged weights (RTMDet) included."""
    size, channels = (256, 256), [64, 128, 192, 256]
    folder = OTHER_DETECTORS[method][0]
    path = ROOT / f'configs/{folder}/{OTHER_DETECTOR_NAMES[method, "base", "FCMAE"]}.py'
    maps = channels if method == 'mask2former' else channels[1:]
    options = {
        'model.backbone.init_cfg': None,
        'model.backbone.arch': dict(_delete_=True, depths=(1, 1, 1, 1), channels=channels),
        f'model.{"panoptic_head" if method == "mask2former" else "neck"}.in_channels': maps,
        'model.data_preprocessor.batch_augments.0.size': size,
        'train_dataloader.dataset.pipeline.2.scale': size,
        'train_dataloader.dataset.pipeline.3.crop_size': size,
        'train_dataloader.batch_size': 1,
        'val_dataloader.dataset.pipeline.1.scale': size,
        'val_evaluator.ann_file': str(samples / 'coco200/annotations/instances_val2017.json'),
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
    }
    for split, count in (('train', 2), ('val', 1)):
        options |= {
            f'{split}_dataloader.dataset.data_root': str(samples / 'coco200'),
            f'{split}_dataloader.dataset.indices': count,
        }
    runner = run(path, tmp_path, options)
    # Four blocks are four groups of layers: the stem's rate is that of the head, times the decay to the power of 5.
    rates = {group['layer_id']: group['initial_lr'] for group in runner.optim_wrapper.optimizer.param_groups}
    lr, decay = (2.5e-4, 0.8) if folder == 'rtmdet' else (1e-4, 0.95)
    assert (rates[5], rates[0]) == pytest.approx((lr, lr * decay**5))


FROZEN = path_of(DINOV3_NAMES['upernet', 'base', True])


@pytest.mark.parametrize('path', [UPERNET, FROZEN], ids=['V2', 'V1, frozen'])
@pytest.mark.slow
def test_upernet_recipe_runs(path, samples, tmp_path):
    classes = (samples / 'coco200/semantic/classes.txt').read_text().splitlines()
    assert len(classes) == 133
    options = {
        'model.backbone.init_cfg': None,
        'model.data_preprocessor.size': (128, 128),
        'model.decode_head.in_channels': NARROW,
        'model.decode_head.channels': 64,
        'model.decode_head.num_classes': 133,
        'model.auxiliary_head.in_channels': NARROW[2],
        'model.auxiliary_head.num_classes': 133,
        'train_dataloader.dataset.pipeline.2.scale': (512, 128),
        'train_dataloader.dataset.pipeline.3.crop_size': (128, 128),
        'val_dataloader.dataset.pipeline.1.scale': (512, 128),
        'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 2,
    }
    for split in ('train', 'val'):
        # 'reduce_zero_label' of ADE20KDataset is the only setting of the recipe that is about ADE20K.
        dataset = {
            'type': 'BaseSegDataset',
            'metainfo': dict(classes=classes, palette=[[i, i, i] for i in range(133)]),
            'data_root': str(samples / 'coco200'),
            'data_prefix.img_path': f'{split}2017',
            'data_prefix.seg_map_path': f'semantic/{split}2017',
            'indices': 2 if split == 'train' else 1,
        }
        options |= {f'{split}_dataloader.dataset.{key}': value for key, value in dataset.items()}
    runner = run(path, tmp_path, options | narrow_backbone())
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in runner.model.modules())
    has_gradient = {
        name.split('.')[0] for name, parameter in runner.model.named_parameters() if parameter.requires_grad
    }
    assert has_gradient == {'decode_head', 'auxiliary_head'} | (set() if path == FROZEN else {'backbone'})
    assert 0 <= runner.message_hub.get_scalar('val/mIoU').current() <= 100


@pytest.mark.slow
def test_from_a_fine_tuned_classifier_to_upernet(samples, tmp_path, monkeypatch):
    """The chain of the paper: weights, fine-tuned on labels with mmpretrain, start the backbone of UperNet."""
    photos = sorted((samples / 'imagenet1000').glob('*.jpg'))[:8]
    (tmp_path / 'labels.txt').write_text(''.join(f'{photo.name} {label}\n' for label, photo in enumerate(photos)))
    dataset = dict(
        type='CustomDataset', data_prefix=str(samples / 'imagenet1000'), ann_file=str(tmp_path / 'labels.txt')
    )
    start = registry.MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch='atto', out_indices=(3,), out_norm=False))
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in start.state_dict().items()}), tmp_path / 'fcmae.pth')

    cfg = recipe(FINETUNE_NAMES['atto'])
    options = {'model.backbone.init_cfg.checkpoint': str(tmp_path / 'fcmae.pth'), 'train_dataloader.batch_size': 4}
    for split in ('train', 'val'):
        pipeline = cfg[f'{split}_dataloader'].dataset.pipeline
        options[f'{split}_dataloader.dataset'] = dict(_delete_=True, pipeline=pipeline, **dataset)
    options |= {'train_cfg.max_epochs': 1, 'default_hooks.checkpoint.interval': 1}
    trained = run(path_of(FINETUNE_NAMES['atto']), tmp_path, options, checkpoint=True)
    # The head starts with almost no weights: all of 1000 classes are as likely.
    assert trained.message_hub.get_scalar('train/loss').data[0][0] == pytest.approx(math.log(1000), abs=0.01)
    assert trained.message_hub.get_scalar('val/accuracy/top5').current() >= 0

    # It can be tested: mmpretrain's EMAHook tests the averaged weights, which validation measured.
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    tested = copy.deepcopy(trained.cfg)
    tested.update({f'test_{part}': tested[f'val_{part}'] for part in ('dataloader', 'evaluator')}, test_cfg=dict())
    measured = apis.test(tested, str(tmp_path / 'epoch_1.pth'))
    assert measured == {key: trained.message_hub.get_scalar(f'val/{key}').current() for key in measured} != {}

    upernet = recipe(UPERNET_NAMES['atto', 'fcmae-ft1k'])
    upernet.model.backbone.init_cfg.checkpoint = str(tmp_path / 'epoch_1.pth')
    with DefaultScope.overwrite_default_scope(upernet.default_scope):
        model = registry.MODELS.build(upernet.model)
        model.init_weights()
    averaged = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['state_dict']
    moved = 0
    for key, value in start.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], averaged[f'backbone.{key}'])
        moved += not torch.equal(value, averaged[f'backbone.{key}'])
    assert moved > 0


@pytest.mark.parametrize(('task', 'first'), [('mask-rcnn', ()), ('upernet', ('background',))])
def test_toy_configs_name_the_classes_of_the_toy_scenes(task, first):
    """Configs cannot import, so the names stand there a second time."""
    from mmcnv2.toy_scenes import CLASSES

    cfg = Config.fromfile(ROOT / f'configs/toy/{task}_convnextv2-atto_toy-scenes.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == (*first, *CLASSES)
