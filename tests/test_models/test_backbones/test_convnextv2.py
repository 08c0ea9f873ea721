"""The backbone without a mask, and its contract. Masked maps: ``test_sparse/test_backends.py``."""

import sys
from collections import Counter

import mmdet.registry
import mmengine.registry
import mmseg.registry
import pytest
import torch
from helpers import reference
from helpers.launching import launch
from helpers.models import ARCH, BLOCK_KEYS, OTHER_ARCH, build_backbone, double_weights, error, gradients, weighted_sum
from mmengine.registry import DefaultScope
from torch import nn

from mmcnv2.models.backbones import ARCHITECTURES, Block, ConvNeXtV2Block
from mmcnv2.models.sparse import make_layout

# ---- values


@pytest.mark.parametrize('out_norm', [True, False])
@pytest.mark.parametrize('arch, size', [(ARCH, (2, 3, 64, 96)), (OTHER_ARCH, (1, 4, 96, 32))])
def test_maps_and_gradients_equal_the_reference(arch, size, out_norm):
    model = build_backbone(arch, in_channels=size[1], out_norm=out_norm)
    images = torch.randn(size)
    weights = double_weights(model)
    expected = reference.features(weights, images.double())
    maps = model(images)
    for actual, wanted in zip(maps, expected, strict=True):
        assert error(actual, wanted) < 2e-5
    weighted_sum(maps).backward()
    weighted_sum(expected).backward()
    for key, grad in gradients(model).items():
        assert error(grad, weights[key].grad) < 2e-5, key

    for actual, wanted in zip(model.double()(images.double()), expected, strict=True):
        assert error(actual, wanted) < 1e-13


def test_memory_format_of_the_images_does_not_matter():
    model, images = build_backbone(), torch.randn(2, 3, 64, 96)
    for actual, expected in zip(model(images.to(memory_format=torch.channels_last)), model(images), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize('out_indices', [(0, 1, 2, 3), (0,), (3,), (1, 3), (0, 2)])
def test_shapes_and_out_indices(out_indices, masked):
    images = torch.randn(2, 3, 64, 96)
    mask = torch.tensor([[[0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 0, 1]]]).bool() if masked else None
    every = build_backbone()
    model = build_backbone(out_indices=out_indices)
    model.load_state_dict({key: value for key, value in every.state_dict().items() if key in model.state_dict()})
    shapes = [(2, 4, 16, 24), (2, 8, 8, 12), (2, 12, 4, 6), (2, 16, 2, 3)]
    maps, all_maps = model(images, mask), every(images, mask)
    assert isinstance(maps, tuple)
    assert [tuple(m.shape) for m in maps] == [shapes[i] for i in out_indices]
    for m, i in zip(maps, out_indices, strict=True):
        assert torch.equal(m, all_maps[i])
        assert m.is_contiguous()


# ---- parameters


def test_state_dict_keys_by_hand():
    expected = [
        *('downsample_layers.0.0.weight', 'downsample_layers.0.0.bias'),
        *('downsample_layers.0.1.weight', 'downsample_layers.0.1.bias'),
        *('downsample_layers.1.0.weight', 'downsample_layers.1.0.bias'),
        *('downsample_layers.1.1.weight', 'downsample_layers.1.1.bias'),
        *('downsample_layers.2.0.weight', 'downsample_layers.2.0.bias'),
        *('downsample_layers.2.1.weight', 'downsample_layers.2.1.bias'),
        *('downsample_layers.3.0.weight', 'downsample_layers.3.0.bias'),
        *('downsample_layers.3.1.weight', 'downsample_layers.3.1.bias'),
    ]
    for name in ('stages.0.0', 'stages.1.0', 'stages.2.0', 'stages.2.1', 'stages.3.0'):
        expected += [f'{name}.{key}' for key in BLOCK_KEYS]
    assert sorted(build_backbone(out_norm=False).state_dict()) == sorted(expected)
    expected += ['norm1.weight', 'norm1.bias', 'norm3.weight', 'norm3.bias']
    assert sorted(build_backbone(out_indices=(1, 3)).state_dict()) == sorted(expected)


OFFICIAL = dict(atto=3.7, femto=5.2, pico=9.1, nano=15.6, tiny=28.6, base=89, large=198, huge=660)


@pytest.mark.parametrize('name', OFFICIAL)
def test_keys_shapes_and_sizes_of_the_official_networks(name):
    with torch.device('meta'):
        model = build_backbone(name, randomised=False, out_norm=False)
    depths, channels = ARCHITECTURES[name]['depths'], ARCHITECTURES[name]['channels']
    expected = {}
    for i, c in enumerate(channels):
        c_in, conv, norm = (3, 0, 1) if i == 0 else (channels[i - 1], 1, 0)
        size, normed = (4, c) if i == 0 else (2, c_in)
        expected[f'downsample_layers.{i}.{conv}.weight'] = (c, c_in, size, size)
        expected[f'downsample_layers.{i}.{conv}.bias'] = (c,)
        expected |= {f'downsample_layers.{i}.{norm}.{key}': (normed,) for key in ('weight', 'bias')}
        for j in range(depths[i]):
            block = {'dwconv.weight': (c, 1, 7, 7), 'dwconv.bias': (c,), 'norm.weight': (c,), 'norm.bias': (c,)}
            block |= {'pwconv1.weight': (4 * c, c), 'pwconv1.bias': (4 * c,)}
            block |= {'grn.gamma': (4 * c,), 'grn.beta': (4 * c,)}
            block |= {'pwconv2.weight': (c, 4 * c), 'pwconv2.bias': (c,)}
            expected |= {f'stages.{i}.{j}.{key}': shape for key, shape in block.items()}
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == expected

    head = 2 * channels[-1] + 1000 * channels[-1] + 1000  # LayerNorm and Linear
    millions = (sum(p.numel() for p in model.parameters()) + head) / 1e6
    digits = 1 if OFFICIAL[name] < 80 else 0
    assert round(millions, digits) == OFFICIAL[name]


def test_official_gamma_and_beta_shapes_load():
    weights = build_backbone().state_dict()
    official = {k: v.view(1, 1, 1, -1) if 'grn' in k else v for k, v in weights.items()}
    model = build_backbone(randomised=False)
    model.load_state_dict(official)
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_initial_values():
    model = build_backbone('atto', randomised=False)
    normals = []
    for name, p in model.named_parameters():
        if p.ndim > 1:
            assert abs(p.std() / 0.02 - 1) < 5 / (2 * p.numel()) ** 0.5, name
            normals.append(p.flatten() / 0.02)
        else:
            assert (p == (1 if name.endswith('weight') else 0)).all(), name
    z = torch.cat(normals).abs()
    for bound, share in [(0.5, 0.3829), (1, 0.6827), (2, 0.9545), (3, 0.9973)]:
        assert (z < bound).float().mean() == pytest.approx(share, abs=2e-3), 'normally distributed'


def test_init_weights_of_mmengine_changes_nothing():
    model = build_backbone(randomised=False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


# ---- training


def test_drop_path_grows_linearly_over_all_blocks():
    blocks = [m for m in build_backbone(drop_path_rate=0.4).modules() if isinstance(m, Block)]
    rates = [getattr(block.drop_path, 'drop_prob', 0.0) for block in blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])  # depths 1, 1, 2, 1


def test_drop_path_drops_the_branch_of_whole_samples():
    torch.manual_seed(0)
    block = ConvNeXtV2Block(4, drop_path=0.5)
    x, layout = torch.randn(64, 8, 8, 4), make_layout(None, 'auto')
    branch = block.eval()(x, layout) - x
    out = block.train()(x, layout)
    dropped = (out == x).flatten(1).all(dim=1)
    assert 20 <= dropped.sum() <= 44
    torch.testing.assert_close(out[~dropped], (x + 2 * branch)[~dropped], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('out_indices', [(0,), (0, 1), (2,), (0, 3)])
def test_what_no_output_needs_is_not_trained(out_indices):
    """Processes wait for the gradients of every parameter that has any (DistributedDataParallel)."""
    model = build_backbone(out_indices=out_indices).train()
    assert set(model.state_dict()) >= {'stages.3.0.dwconv.weight', 'downsample_layers.3.1.weight'}
    weighted_sum(model(torch.randn(2, 3, 64, 64))).backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    stages = {name.split('.')[1] for name in trained if name.startswith('stages.')}
    assert stages == {str(i) for i in range(max(out_indices) + 1)}


FROZEN = {
    -1: (),
    0: ('downsample_layers.0.',),
    1: ('downsample_layers.0.', 'stages.0.', 'norm0.'),
    2: ('downsample_layers.0.', 'stages.0.', 'norm0.', 'downsample_layers.1.', 'stages.1.', 'norm1.'),
    4: ('downsample_layers.', 'stages.', 'norm'),
}


@pytest.mark.parametrize('frozen_stages', FROZEN)
def test_frozen_stages(frozen_stages):
    model = build_backbone(frozen_stages=frozen_stages, drop_path_rate=0.3).train()
    frozen = {name for name, _ in model.named_parameters() if name.startswith(FROZEN[frozen_stages])}
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == frozen
    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is not None or 'drop_path' in name:
            assert module.training != f'{name}.'.startswith(FROZEN[frozen_stages]), name

    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss = weighted_sum(model(torch.randn(2, 3, 64, 64)))
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == set(before) - frozen

    assert not any(module.training for module in model.eval().modules())


# ---- registry


@pytest.mark.slow
@pytest.mark.parametrize('statement', ['import mmcnv2', 'import mmcnv2.registry'])
def test_builds_in_a_fresh_process_after_one_import(root, statement):
    code = f"""
{statement}
from mmengine.registry import MODELS
model = MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch='atto'))
print(type(model).__module__, type(model).__name__)
"""
    done = launch(root, sys.executable, '-c', code)
    assert done.stdout.split() == ['mmcnv2.models.backbones.convnextv2', 'ConvNeXtV2']


@pytest.mark.parametrize('scope', ['mmengine', 'mmdet', 'mmseg'])
def test_builds_under_every_default_scope(scope):
    registries = [mmengine.registry.MODELS, mmdet.registry.MODELS, mmseg.registry.MODELS]
    backbone = dict(type='mmcnv2.ConvNeXtV2', arch=ARCH)
    with DefaultScope.overwrite_default_scope(scope):
        for registry in registries:
            assert type(registry.build(backbone)).__name__ == 'ConvNeXtV2'
            fcmae = registry.build(dict(type='mmcnv2.FCMAE', backbone=backbone, decoder_embed_dims=8))
            assert Counter(type(m).__name__ for m in fcmae.children())['ConvNeXtV2'] == 1


def test_defaults_of_the_contract():
    with torch.device('meta'):
        by_default = mmengine.registry.MODELS.build(dict(type='mmcnv2.ConvNeXtV2'))
    assert by_default.downsample_layers[0][0].weight.shape == (96, 3, 4, 4)
    assert [len(stage) for stage in by_default.stages] == [3, 3, 9, 3], 'tiny'
    assert [by_default.get_submodule(f'norm{i}').weight.numel() for i in range(4)] == [96, 192, 384, 768]
    assert not any(type(m).__name__ == 'DropPath' for m in by_default.modules())
    assert all(p.requires_grad for p in by_default.parameters())


# ---- errors


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(arch='small'), r"arch must be one of atto, .*huge or a dict, got 'small'"),
        (dict(arch=dict(depths=(1, 1, 1, 1))), r'arch must be dict\(depths=\.\.\., channels=\.\.\.\) with 4 numbers'),
        (dict(arch=dict(depths=(1, 1, 1), channels=(4, 8, 12))), r'arch must be .*4 numbers each, got .*\(1, 1, 1\)'),
        (dict(arch=dict(ARCH, heads=4)), r'arch must be .*got .*heads'),
        (dict(sparse_backend='cuda'), r"sparse_backend must be one of auto, dense, .*got 'cuda'"),
        (dict(out_indices=(0, 4)), r'out_indices must be among 0, 1, 2, 3, got \(0, 4\)'),
        (dict(out_indices=(-1,)), r'out_indices must be among 0, 1, 2, 3, got \(-1,\)'),
        (dict(out_indices=()), r'out_indices must be among 0, 1, 2, 3, got \(\)'),
        (dict(frozen_stages=5), r'frozen_stages must be from -1 to 4, got 5'),
        (dict(frozen_stages=-2), r'frozen_stages must be from -1 to 4, got -2'),
    ],
)
def test_constructor_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(**kwargs)


@pytest.mark.parametrize(
    'size, message',
    [
        ((2, 3, 64, 100), r'height and width must be divisible by 32, got 64x100.*pad_size_divisor=32'),
        ((2, 3, 63, 96), r'height and width must be divisible by 32, got 63x96'),
        ((2, 4, 64, 64), r'images must be \(N, 3, H, W\), got shape \(2, 4, 64, 64\).*in_channels'),
        ((3, 64, 64), r'images must be \(N, 3, H, W\), got shape \(3, 64, 64\)'),
    ],
)
def test_image_errors(size, message):
    with pytest.raises(ValueError, match=message):
        build_backbone()(torch.zeros(size))


@pytest.mark.parametrize(
    'mask, message',
    [
        (torch.zeros(2, 8, 8).bool(), r'mask must have shape .*\(2, 2, 2\).*got \(2, 8, 8\)'),
        (torch.zeros(2, 2, 2), r'mask must be of dtype torch.bool \(True = removed\), got torch.float32'),
        (torch.eye(2).bool().repeat(2, 1, 1).index_fill(0, torch.tensor([1]), True), r'visible patches, got \[2, 0\]'),
        (torch.ones(2, 2, 2).bool(), r'mask removes every patch'),
    ],
)
@pytest.mark.parametrize('backend', ['dense', 'torch'])
def test_mask_errors(mask, message, backend):
    with pytest.raises(ValueError, match=message):
        build_backbone(sparse_backend=backend)(torch.zeros(2, 3, 64, 64), mask)


def test_block_is_plain_pytorch():
    """mmdet and mmseg count on LayerNorm by type, e.g. for the weight decay of norms."""
    kinds = Counter(type(m) for m in build_backbone().modules())
    assert kinds[nn.LayerNorm] == 5 + 4 + 4, 'blocks, downsampling, outputs'
    assert kinds[nn.Conv2d] == 5 + 4
    assert kinds[nn.Linear] == 2 * 5


def test_maps_suit_operators_that_ignore_strides():
    """mmcv's RoIAlign reads memory as NCHW: the boxes' features must be those of the same map made contiguous."""
    from mmcv.ops import RoIAlign

    torch.manual_seed(0)
    arch = dict(depths=(1, 1, 1, 1), channels=(4, 8, 12, 16))
    backbone = mmengine.registry.MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch=arch))
    images = torch.randn(1, 3, 64, 96)
    boxes = torch.tensor([[0, 8.0, 4.0, 40.0, 36.0]])
    for mask in (None, torch.tensor([[[True, False, False], [False, True, False]]])):
        for stride, feature in zip((4, 8, 16, 32), backbone(images, mask), strict=True):
            align = RoIAlign(2, 1 / stride, 2)
            assert torch.equal(
                align(feature, boxes), align(feature.clone(memory_format=torch.contiguous_format), boxes)
            )
