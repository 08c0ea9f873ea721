"""The models of timm and mmpretrain themselves: with the same weights they have the same features."""

import mmpretrain.models  # noqa: F401
import pytest
import timm
import torch
from helpers.models import error
from mmengine.registry import MODELS

from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.models.weights.converting import convert_state_dict

pytestmark = pytest.mark.slow


@torch.no_grad()
def fill(model):
    """Random weights of unit gain; GRN, which others start at zero, takes part."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.normal_(std=parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.5)
    model.eval()
    return model


def ours(arch, weights, layout, **kwargs):
    converted, recognised, _ = convert_state_dict(weights, to='mmcnv2')
    assert recognised == layout
    with torch.device('meta'):
        model = MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch=arch, **kwargs))
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
