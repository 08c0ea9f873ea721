"""The models of other libraries themselves: with the same weights they have the same features."""

import mmpretrain.models  # noqa: F401
import pytest
import timm
import torch
import torchvision
import transformers
from helpers.models import error
from mmengine.registry import MODELS

from mmcnv2.models import ConvNeXt
from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.models.weights.converting import build_backbone, convert_state_dict

pytestmark = pytest.mark.slow


@torch.no_grad()
def fill(model):
    """Random weights of unit gain; GRN, which others start at zero, takes part."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.normal_(std=parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.5)
    model.eval()
    return model


def ours(arch, weights, layout, network='ConvNeXtV2', **kwargs):
    converted, recognised, _ = convert_state_dict(weights, to='mmcnv2')
    assert recognised == layout
    with torch.device('meta'):
        model = MODELS.build(dict(type=f'mmcnv2.{network}', arch=arch, **kwargs))
    backbone = {k.removeprefix('backbone.'): v for k, v in converted.items() if k.startswith('backbone.')}
    model.load_state_dict(backbone, assign=True)
    return model.eval()


@pytest.mark.parametrize('arch', ARCHITECTURES)
@torch.no_grad()
def test_features_are_those_of_timm(arch):
    with torch.device('meta'):  # initialising the largest takes a minute
        theirs = timm.create_model(f'convnextv2_{arch}')
    fill(theirs.to_empty(device='cpu'))
    images = torch.randn(1, 3, 96, 64)
    expected = theirs.forward_intermediates(images, intermediates_only=True)
    model = ours(arch, theirs.state_dict(), 'timm', out_norm=False)
    for actual, wanted in zip(model(images), expected, strict=True):
        assert error(actual, wanted) < 1e-5


@pytest.mark.parametrize('arch', ['atto', 'base'])
@torch.no_grad()
def test_features_are_those_of_mmpretrain(arch):
    """With output norms, which both have."""
    theirs = dict(type='mmpretrain.ConvNeXt', arch=arch, use_grn=True, layer_scale_init_value=0.0)
    theirs = fill(MODELS.build(dict(theirs, out_indices=(0, 1, 2, 3), gap_before_final_norm=False)))
    weights = {f'backbone.{key}': value for key, value in theirs.state_dict().items()}
    images = torch.randn(1, 3, 96, 64)
    for actual, wanted in zip(ours(arch, weights, 'mmpretrain')(images), theirs(images), strict=True):
        assert error(actual, wanted) < 1e-5


# ---- ConvNeXt, the first version (timm's: test_backbones/test_convnext.py)

ARCH = dict(depths=(1, 2, 3, 1), channels=(8, 16, 24, 32))
SIZES = dict(depths=[1, 2, 3, 1], hidden_sizes=[8, 16, 24, 32])


def assert_same_maps(theirs, layout, wanted, images, prefix='', **kwargs):
    weights = {prefix + key: value for key, value in theirs.state_dict().items()}
    model = ours(ARCH, weights, layout, 'ConvNeXt', **kwargs)
    for actual, expected in zip(model(images), wanted, strict=True):
        assert error(actual, expected) < 1e-5


@pytest.fixture
def images():
    return torch.randn(1, 3, 96, 64)


@torch.no_grad()
def test_first_version_of_transformers(images):
    theirs = fill(transformers.ConvNextForImageClassification(transformers.ConvNextConfig(**SIZES)))
    maps = theirs.convnext(images, output_hidden_states=True).hidden_states[1:]
    assert_same_maps(theirs, 'transformers, ConvNext', maps, images, out_norm=False)


@torch.no_grad()
def test_dinov3_of_transformers(images):
    theirs = fill(transformers.DINOv3ConvNextModel(transformers.DINOv3ConvNextConfig(**SIZES)))
    maps = theirs(images, output_hidden_states=True).hidden_states[1:]
    assert_same_maps(theirs, 'transformers, DINOv3ConvNext', maps, images, out_norm=False)


@torch.no_grad()
def test_first_version_of_torchvision(images):
    settings = [
        torchvision.models.convnext.CNBlockConfig(*sizes)
        for sizes in zip((8, 16, 24, 32), (16, 24, 32, None), (1, 2, 3, 1), strict=True)
    ]
    theirs = fill(torchvision.models.ConvNeXt(settings))
    maps, x = [], images
    for i, layer in enumerate(theirs.features):
        x = layer(x)
        maps += [x] if i % 2 else []
    assert_same_maps(theirs, 'torchvision', maps, images, out_norm=False)


@torch.no_grad()
def test_first_version_of_mmpretrain(images):
    theirs = dict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1, 2, 3, 1], channels=[8, 16, 24, 32]))
    theirs = fill(MODELS.build(dict(theirs, out_indices=(0, 1, 2, 3), gap_before_final_norm=False)))
    assert_same_maps(theirs, 'mmpretrain', theirs(images), images, 'backbone.')


@torch.no_grad()
def test_dinov3_of_its_authors(images):
    """The official names, and ``norms.3``, which normalises each position of the last map."""
    source = fill(MODELS.build(dict(type='mmcnv2.ConvNeXt', arch=ARCH, out_indices=(3,))))
    weights = {key.replace('norm3.', 'norms.3.', 1): value for key, value in source.state_dict().items()}
    weights |= {'norm.weight': torch.randn(32), 'norm.bias': torch.randn(32)}
    backbone = build_backbone(weights, (3,))
    assert isinstance(backbone, ConvNeXt)
    assert torch.equal(backbone.eval()(images)[0], source(images)[0])
