"""How different channels are: numbers computed by hand, the full matrix of pairs, and networks that collapsed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.models import ARCH, OTHER_ARCH, build_backbone
from mmengine.registry import MODELS
from torch import nn

from mmcnv2.evaluation.diversity import DiversityProbe, channel_distance


def all_pairs(maps):
    """The definition: (1 - cos)/2 of every pair of different channels, by NumPy in float64."""
    distances = []
    for image in maps.double().numpy():
        channels = image.reshape(-1, image.shape[-1]).T
        channels = [c / np.linalg.norm(c) for c in channels if np.linalg.norm(c) > 0]
        pairs = [(1 - a @ b) / 2 for i, a in enumerate(channels) for j, b in enumerate(channels) if i != j]
        distances.append(np.mean(pairs) if pairs else 0)
    return distances


def measure(backbone, *batches, **kwargs):
    with DiversityProbe(backbone, **kwargs) as probe:
        for batch in batches:
            backbone(batch)
    backbone(torch.randn(1, 3, 64, 64))  # not measured
    return probe.result()


def build(kind, arch=ARCH):
    backbone = build_backbone(arch) if kind == 'ConvNeXtV2' else MODELS.build(dict(type='mmcnv2.ConvNeXt', arch=arch))
    return backbone.eval()


every_network = pytest.mark.parametrize('kind', ['ConvNeXtV2', 'ConvNeXt'])

# ---- one layer, by hand ----


@pytest.mark.parametrize(
    ('channels', 'expected'),
    [
        ([[1, 2, 0, 3], [1, 2, 0, 3]], 0),
        ([[1, 2, 0, 3], [10, 20, 0, 30]], 0),  # the scale of a channel does not matter
        ([[1, 0, 0, 0], [0, 0, 5, 0]], 0.5),
        ([[1, 2, 0, 3], [-2, -4, 0, -6]], 1),
        ([[1, 0, 0, 0], [1, 1, 0, 0]], (1 - 0.5**0.5) / 2),  # 45 degrees
        ([[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]], (0 + 0.5 + 0.5) / 3),
        ([[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]], 0.5),  # zero has no direction
        ([[1, 0, 0, 0], [0, 0, 0, 0]], 0),
        ([[0, 0, 0, 0], [0, 0, 0, 0]], 0),
    ],
)
def test_distance_by_hand(channels, expected):
    maps = torch.tensor(channels).float().T.view(1, 2, 2, len(channels))
    assert channel_distance(maps).tolist() == pytest.approx([expected], abs=1e-7)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_distance_is_that_of_all_pairs(dtype):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 5, 4, 30, generator=generator, dtype=dtype) + torch.rand(30, generator=generator)
    maps = maps * torch.logspace(-6, 6, 30)
    maps[1, :, :, 4:9] = 0
    maps[2, :, :, 3:] = maps[2, :, :, :1]
    assert channel_distance(maps).tolist() == pytest.approx(all_pairs(maps), abs=1e-6)


def test_bfloat16_is_measured_in_float32():
    maps = torch.rand(1, 64, 64, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert channel_distance(maps).tolist() == pytest.approx(all_pairs(maps), abs=1e-5)


# ---- a network ----


def layers_of(backbone, images, block, after_grn):
    """What a block computes after its expansion, from its input: an independent computation."""
    inputs = []
    handle = block.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    backbone(images)
    handle.remove()
    x = F.conv2d(
        inputs[0].permute(0, 3, 1, 2), block.dwconv.weight, block.dwconv.bias, padding=3, groups=len(block.dwconv.bias)
    )
    x = F.layer_norm(x.permute(0, 2, 3, 1), block.norm.weight.shape, block.norm.weight, block.norm.bias, 1e-6)
    x = F.gelu(x @ block.pwconv1.weight.T + block.pwconv1.bias)
    if after_grn:
        norm = x.square().sum(dim=(1, 2), keepdim=True).sqrt()
        x = x + block.grn.gamma * x * norm / norm.mean(dim=-1, keepdim=True) + block.grn.beta
    return x.detach()


@pytest.mark.parametrize(('kind', 'after_grn'), [('ConvNeXtV2', False), ('ConvNeXtV2', True), ('ConvNeXt', False)])
def test_every_block_is_measured(kind, after_grn):
    backbone = build(kind)
    images = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    rows = measure(backbone, images[:2], images[2:], after_grn=after_grn)
    assert [row.layer for row in rows] == [f'stages.{i}.{j}' for i, j in [(0, 0), (1, 0), (2, 0), (2, 1), (3, 0)]]
    for row in rows:
        maps = layers_of(backbone, images, backbone.get_submodule(row.layer), after_grn)
        distances = all_pairs(maps)
        assert row.channels == maps.shape[-1]
        assert row.distance == pytest.approx(np.mean(distances), abs=1e-5)
        assert row.deviation == pytest.approx(np.std(distances), abs=1e-5)


def test_without_grn_both_places_are_one():
    backbone, images = build('ConvNeXt'), torch.randn(2, 3, 64, 64)
    assert measure(backbone, images) == measure(backbone, images, after_grn=True)


@every_network
def test_collapse_is_seen(kind):
    """All channels of one layer are made equal, or all but two."""
    backbone = build(kind, OTHER_ARCH)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    before = {row.layer: row for row in measure(backbone, images)}
    for name, kept in (('stages.0.1', 1), ('stages.3.2', 3)):
        expansion = backbone.get_submodule(name).pwconv1
        for tensor in (expansion.weight.data, expansion.bias.data):
            tensor[kept:] = tensor[:1]
    after = {row.layer: row for row in measure(backbone, images)}
    assert after['stages.0.0'] == before['stages.0.0']
    assert before['stages.0.1'].distance > 0.1
    assert after['stages.0.1'].distance == pytest.approx(0, abs=1e-6)
    assert after['stages.0.1'].dead == after['stages.0.1'].saturated == 0  # alike, not dead
    assert 0 < after['stages.3.2'].distance < before['stages.3.2'].distance / 2


@every_network
def test_dead_and_saturated_channels_are_counted(kind):
    backbone = build(kind)
    images = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(std=0.1)
            module.bias.data.zero_()
    assert all(row.dead == row.saturated == 0 for row in measure(backbone, images))
    expansion = backbone.stages[2][1].pwconv1
    expansion.weight.data[[0, 5]] = 0  # constants, 0 and gelu(2)
    expansion.bias.data[5] = 2
    expansion.weight.data[7] *= 1e-5  # hardly more than a constant
    expansion.bias.data[11] = -100  # GELU leaves nothing
    expansion.bias.data[[20, 21]] = 100.0  # varies as the others, around 100
    rows = {row.layer: row for row in measure(backbone, images[:2], images[2:])}
    assert (rows['stages.2.1'].dead, rows['stages.2.1'].saturated) == (4, 2)
    assert sum(row.dead + row.saturated for row in rows.values()) == 6


def test_a_channel_that_differs_between_images_only_is_alive():
    """The last stage has one position in each image of 32 pixels: each is constant, the two differ."""
    backbone = build('ConvNeXtV2')
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    *_, last = measure(backbone, images[:1], images[1:])
    assert last.channels == 64 and last.dead <= 4
    *_, alone = measure(backbone, images[:1])
    assert alone.dead == 64


def test_the_backbone_is_left_as_it_was():
    backbone = build('ConvNeXtV2').train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    measure(backbone, torch.randn(1, 3, 64, 64))
    assert backbone.training and all(p.grad is None and p.requires_grad for p in backbone.parameters())
    assert all(not module._forward_pre_hooks for module in backbone.modules())
    assert all(value.equal(before[key]) for key, value in backbone.state_dict().items())


def test_bad_input():
    with pytest.raises(ValueError, match='Linear has no ConvNeXt blocks'):
        DiversityProbe(nn.Linear(1, 1))
    with pytest.raises(ValueError, match='given no images'):
        DiversityProbe(build('ConvNeXtV2')).result()
