"""Layers, learning rates and weight decay of LayerDecayOptimWrapperConstructor, against tables made by hand."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmcnv2.engine.optimizers.layer_decay import get_layer_id
from mmcnv2.models import ConvNeXtV2

CONFIGS = Path(__file__).parents[3] / 'configs'
MASK_RCNN = CONFIGS / 'mask_rcnn/mask-rcnn_convnextv2-base-fcmae_fpn_8xb4-amp-lsj-3x_coco.py'
UPERNET = CONFIGS / 'upernet/upernet_convnextv2-base-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512.py'

ATTO, TINY, BASE = (2, 2, 6, 2), (3, 3, 9, 3), (3, 3, 27, 3)
# Layer of the stem and of the other three downsampling layers, of each block of each stage, of all else.
LAYERS = {
    (ATTO, 'single'): ([1, 3, 5, 11], [[1, 2], [3, 4], [5, 6, 7, 8, 9, 10], [11, 12]], 13),
    (ATTO, 'group'): ([0, 2, 3, 5], [[1, 1], [2, 2], [3, 3, 3, 4, 4, 4], [5, 5]], 6),
    (TINY, 'single'): (
        [1, 4, 7, 16],
        [[1, 2, 3], [4, 5, 6], [7, 8, 9, 10, 11, 12, 13, 14, 15], [16, 17, 18]],
        19,
    ),
    (TINY, 'group'): ([0, 2, 3, 6], [[1, 1, 1], [2, 2, 2], [3, 3, 3, 4, 4, 4, 5, 5, 5], [6, 6, 6]], 7),
    (BASE, 'single'): ([1, 4, 7, 34], [[1, 2, 3], [4, 5, 6], list(range(7, 34)), [34, 35, 36]], 37),
    (BASE, 'group'): (
        [0, 2, 3, 12],
        [
            [1, 1, 1],
            [2, 2, 2],
            [3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10, 10, 11, 11, 11],
            [12, 12, 12],
        ],
        13,
    ),
    # Depths that three does not divide: the remainder of a stage is a layer.
    ((1, 4, 8, 2), 'group'): ([0, 2, 4, 7], [[1], [2, 2, 2, 3], [4, 4, 4, 5, 5, 5, 6, 6], [7, 7]], 8),
}
# Learning-rate scale of each layer at rate 0.9: 0.9 to the power of 0, 1, 2, ... from the last layer down.
SCALES = {
    ('atto', 'group'): {6: 1.0, 5: 0.9, 4: 0.81, 3: 0.729, 2: 0.6561, 1: 0.59049, 0: 0.531441},
    ('tiny', 'group'): {7: 1.0, 6: 0.9, 5: 0.81, 4: 0.729, 3: 0.6561, 2: 0.59049, 1: 0.531441, 0: 0.4782969},
    ('atto', 'single'): {
        13: 1.0, 12: 0.9, 11: 0.81, 10: 0.729, 9: 0.6561, 8: 0.59049, 7: 0.531441, 6: 0.4782969, 5: 0.43046721,
        4: 0.387420489, 3: 0.3486784401, 2: 0.31381059609, 1: 0.282429536481,
    },
}  # fmt: skip


def build(model, rate=0.9, decay_type='group', optimizer=None, **wrapper):
    return build_optim_wrapper(
        model,
        dict(
            constructor='mmcnv2.LayerDecayOptimWrapperConstructor',
            optimizer=optimizer or dict(type='AdamW', lr=1e-4, weight_decay=0.05),
            paramwise_cfg=dict(decay_rate=rate, decay_type=decay_type),
            **wrapper,
        ),
    )


def groups_by_name(model, wrapper):
    """The group of each parameter of the optimizer; no parameter is in two."""
    names = {id(param): name for name, param in model.named_parameters()}
    pairs = [(names[id(param)], group) for group in wrapper.optimizer.param_groups for param in group['params']]
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


@pytest.mark.parametrize(('depths', 'decay_type'), LAYERS)
def test_layers(depths, decay_type):
    downsample, stages, rest = LAYERS[depths, decay_type]
    for i, layer in enumerate(downsample):
        assert get_layer_id(f'downsample_layers.{i}.0.weight', depths, decay_type) == layer
    for i, stage in enumerate(stages):
        ids = [get_layer_id(f'stages.{i}.{j}.pwconv1.weight', depths, decay_type) for j in range(depths[i])]
        assert ids == stage
    for name in ('norm3.weight', ''):
        assert get_layer_id(name, depths, decay_type) == rest


@pytest.mark.parametrize(('arch', 'decay_type'), SCALES)
def test_scales(arch, decay_type):
    wrapper = build(ConvNeXtV2(arch), 0.9, decay_type)
    scales = {group['layer_id']: group['lr_scale'] for group in wrapper.optimizer.param_groups}
    assert scales == pytest.approx(SCALES[arch, decay_type])
    for group in wrapper.optimizer.param_groups:
        assert group['lr'] == pytest.approx(1e-4 * SCALES[arch, decay_type][group['layer_id']])


def test_scales_of_base_at_the_rate_of_the_detection_recipe():
    model = ConvNeXtV2(dict(depths=BASE, channels=(8, 8, 8, 8)))
    groups = groups_by_name(model, build(model, 0.95))
    scale = {name: group['lr_scale'] for name, group in groups.items()}
    assert scale['downsample_layers.0.0.weight'] == pytest.approx(0.513342, abs=1e-6)  # 0.95 ** 13
    assert scale['stages.0.2.dwconv.weight'] == pytest.approx(0.540360, abs=1e-6)  # 0.95 ** 12
    assert scale['stages.2.26.pwconv2.bias'] == pytest.approx(0.9025)  # 0.95 ** 2
    assert scale['downsample_layers.3.1.weight'] == pytest.approx(0.95)
    assert scale['norm3.weight'] == 1.0


def test_rate_one_is_no_decay_of_the_learning_rate():
    assert {group['lr'] for group in build(ConvNeXtV2('atto'), 1.0).optimizer.param_groups} == {1e-4}


def test_weight_decay_spares_biases_norms_and_grn():
    model = ConvNeXtV2('atto')
    groups = groups_by_name(model, build(model))
    assert groups.keys() == dict(model.named_parameters()).keys()
    # A stem of 2 tensors with its norm of 2; three times norm and convolution; output norms; five times two a block.
    assert len(groups) == 4 + 3 * 4 + 4 * 2 + 12 * 10
    decayed = {name for name, group in groups.items() if group['weight_decay'] == 0.05}
    spared = {name for name, group in groups.items() if group['weight_decay'] == 0.0}
    assert len(decayed) == 4 + 12 * 3  # stem and downsampling; dwconv, pwconv1, pwconv2
    assert decayed | spared == set(groups)
    assert all(name.endswith('.weight') and 'norm' not in name for name in decayed)
    assert {'stages.0.0.grn.gamma', 'stages.0.0.grn.beta', 'downsample_layers.1.0.weight', 'norm0.weight'} <= spared


def test_mask_token_has_no_weight_decay_and_the_full_learning_rate():
    backbone = dict(type='mmcnv2.ConvNeXtV2', arch='atto')
    model = MODELS.build(dict(type='mmcnv2.FCMAE', backbone=backbone, decoder_embed_dims=32))
    groups = groups_by_name(model, build(model))
    assert groups['mask_token']['weight_decay'] == 0.0
    assert groups['mask_token']['lr'] == 1e-4
    assert groups['pred.weight']['weight_decay'] == 0.05


def test_no_decay_spares_what_it_names_and_changes_no_rate():
    """Matrices of embeddings: the queries of a head, and a level's; the projection beside them decays."""

    def groups_of(**settings):
        model = nn.Module()
        model.backbone = ConvNeXtV2('atto')
        model.head = nn.ModuleDict(dict(query_embed=nn.Embedding(5, 2), projection=nn.Linear(2, 2)))
        model.level_embed = nn.Parameter(torch.zeros(4, 2))
        paramwise_cfg = dict(decay_rate=0.9, decay_type='group', **settings)
        optimizer = dict(type='AdamW', lr=1e-4, weight_decay=0.05)
        constructor = 'mmcnv2.LayerDecayOptimWrapperConstructor'
        cfg = dict(constructor=constructor, optimizer=optimizer, paramwise_cfg=paramwise_cfg)
        return groups_by_name(model, build_optim_wrapper(model, cfg))

    groups, without = groups_of(no_decay=['query_embed', 'level_embed']), groups_of()
    expected = {'head.query_embed.weight': 0.0, 'level_embed': 0.0, 'head.projection.weight': 0.05}
    assert {name: groups[name]['weight_decay'] for name in expected} == expected
    assert {without[name]['weight_decay'] for name in expected} == {0.05}
    for name in without.keys() - expected.keys():
        assert groups[name]['weight_decay'] == without[name]['weight_decay']
    assert {name: group['lr'] for name, group in groups.items()} == {n: group['lr'] for n, group in without.items()}
    assert groups['level_embed']['lr'] == 1e-4


def test_no_decay_that_names_nothing():
    with pytest.raises(ValueError, match='no parameter of ConvNeXtV2 has query_embd in its name'):
        build_optim_wrapper(
            ConvNeXtV2('atto'),
            dict(
                constructor='mmcnv2.LayerDecayOptimWrapperConstructor',
                optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
                paramwise_cfg=dict(decay_rate=0.9, decay_type='group', no_decay=['stages.0', 'query_embd']),
            ),
        )


def test_frozen_parameters_are_left_out():
    model = ConvNeXtV2('atto', frozen_stages=2)
    names = groups_by_name(model, build(model)).keys()
    assert names == {name for name, param in model.named_parameters() if param.requires_grad}
    assert not any(name.startswith(('downsample_layers.0', 'stages.0', 'stages.1')) for name in names)
    assert any(name.startswith('stages.2') for name in names)


def test_names_outside_the_backbone_do_not_matter():
    """A neck or a head may call its parts as the backbone does."""
    model = nn.Module()
    model.backbone = ConvNeXtV2('atto')
    model.stages = nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
    groups = groups_by_name(model, build(model))
    assert groups['stages.0.0.weight']['lr'] == 1e-4
    assert groups['stages.0.0.weight']['weight_decay'] == 0.05
    assert groups['backbone.stages.0.0.pwconv1.weight']['layer_id'] == 1


@pytest.mark.parametrize('path', [MASK_RCNN, UPERNET], ids=['mask_rcnn', 'upernet'])
def test_under_a_detector_and_a_segmenter(path):
    cfg = Config.fromfile(path)
    channels = [40, 80, 160, 320]
    cfg.model.backbone.arch = 'atto'
    if 'neck' in cfg.model:
        cfg.model.neck.in_channels = channels
        head, norm = 'roi_head.bbox_head.fc_cls', None
    else:
        cfg.model.decode_head.in_channels = channels
        cfg.model.auxiliary_head.in_channels = channels[2]
        head, norm = 'decode_head.conv_seg', 'decode_head.bottleneck.bn'
    cfg.optim_wrapper.type = 'OptimWrapper'
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    rate = cfg.optim_wrapper.paramwise_cfg.decay_rate
    groups = groups_by_name(model, wrapper)
    assert groups.keys() == dict(model.named_parameters()).keys()
    for name, group in groups.items():
        if not name.startswith('backbone.'):
            assert (group['lr'], group['layer_id']) == (1e-4, 6)
    assert groups['backbone.downsample_layers.0.0.weight']['lr'] == pytest.approx(1e-4 * rate**6)
    assert groups['backbone.norm3.weight']['lr'] == 1e-4
    assert (groups[f'{head}.weight']['weight_decay'], groups[f'{head}.bias']['weight_decay']) == (0.05, 0.0)
    if norm:
        assert (groups[f'{norm}.weight']['weight_decay'], groups[f'{norm}.bias']['weight_decay']) == (0.0, 0.0)


def test_other_settings_of_the_wrapper_are_kept():
    wrapper = build(ConvNeXtV2('atto'), type='OptimWrapper', accumulative_counts=4, clip_grad=dict(max_norm=1.0))
    assert type(wrapper) is OptimWrapper
    assert wrapper._accumulative_counts == 4
    assert wrapper.optimizer.defaults['betas'] == (0.9, 0.999)


def test_a_step_moves_each_layer_by_its_learning_rate():
    """Adam's first step is the learning rate, whatever the gradient."""
    model = ConvNeXtV2('atto', out_indices=(3,))
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    wrapper = build(model, 0.5, optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.0))
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    wrapper.optimizer.step()
    for name, scale in [
        ('downsample_layers.0.0.weight', 1 / 64),
        ('stages.2.5.pwconv1.bias', 1 / 4),
        ('norm3.bias', 1),
    ]:
        step = (before[name] - dict(model.named_parameters())[name]).flatten()[0]
        assert float(step) == pytest.approx(1e-2 * scale, rel=1e-3)


@pytest.mark.parametrize(
    ('paramwise_cfg', 'message'),
    [
        (dict(decay_rate=0.9, decay_type='layer_wise'), "'single' or 'group', got 'layer_wise'"),
        (dict(decay_rate=0.0, decay_type='group'), r'decay_rate must be in \(0, 1\], got 0'),
        (dict(decay_rate=1.1, decay_type='group'), r'decay_rate must be in \(0, 1\], got 1.1'),
        (dict(decay_rate=0.9), 'paramwise_cfg must be'),
        (dict(decay_rate=0.9, decay_type='group', num_layers=12), 'num_layers'),
        (dict(decay_rate=0.9, decay_type='group', no_decay='query_embed'), 'no_decay must be a list'),
        (dict(decay_rate=0.9, decay_type='group', no_decay=['']), 'no_decay must be a list'),
        (None, 'paramwise_cfg must be'),
    ],
)
def test_wrong_settings(paramwise_cfg, message):
    cfg = dict(
        constructor='mmcnv2.LayerDecayOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        paramwise_cfg=paramwise_cfg,
    )
    with pytest.raises(ValueError, match=message):
        build_optim_wrapper(ConvNeXtV2('atto'), cfg)


def test_the_optimizer_needs_lr():
    with pytest.raises(ValueError, match='needs lr and weight_decay'):
        build(ConvNeXtV2('atto'), optimizer=dict(type='AdamW', weight_decay=0.05))


@pytest.mark.parametrize(('kind', 'weight_decay'), [('SGD', 0), ('NAdam', 0), ('AdamW', 0.01)])
def test_weight_decay_is_the_optimizers_own_where_none_is_given(kind, weight_decay):
    wrapper = build(ConvNeXtV2('atto'), optimizer=dict(type=kind, lr=1e-4))
    assert {group['weight_decay'] for group in wrapper.optimizer.param_groups} == {0, weight_decay}
    assert type(wrapper.optimizer).__name__ == kind


def test_another_backbone():
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    with pytest.raises(ValueError, match='Module with backbone Linear'):
        build(model)
    with pytest.raises(ValueError, match='Linear with backbone NoneType'):
        build(nn.Linear(2, 2))


def test_the_log_has_one_line_for_each_group(monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmcnv2.engine.optimizers.layer_decay.print_log',
        lambda text, logger: messages.append(text),
    )
    wrapper = build(ConvNeXtV2('atto'))
    title, header, *lines = messages[0].splitlines()
    assert title == 'layer decay 0.9 (group), lr 0.0001:'
    assert header.split() == ['layer', 'lr', 'scale', 'weight', 'decay', 'tensors', 'params']
    # Layer 0 without decay: bias of the stem, weight and bias of its norm, 40 numbers each; with: 40 * 3 * 4 * 4.
    assert [lines[0].split(), lines[1].split()] == [
        ['0', '0.5314', '0', '3', '120'],
        ['0', '0.5314', '0.05', '1', '1,920'],
    ]
    assert len(lines) == len(wrapper.optimizer.param_groups) == 13
