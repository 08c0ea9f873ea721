"""Conversions are right (against layouts written by hand) and lose nothing (there and back, bit for bit)."""

import pytest
import torch
from helpers.foreign import NAMES, foreign_state_dict, official_fcmae_state_dict, sparse_state_dict
from helpers.models import OTHER_ARCH, build_backbone, build_fcmae

from mmcnv2.models.weights.converting import WRITABLE, convert_state_dict

HEADS = {name: NAMES[name]['classifier'] for name in NAMES if NAMES[name]['classifier']}


@pytest.fixture
def source():
    return build_backbone(OTHER_ARCH, out_norm=False)


def classifier(model):
    """A classifier of ours: backbone, head.norm, head.fc."""
    generator = torch.Generator().manual_seed(3)
    shapes = {'norm.weight': (10,), 'norm.bias': (10,), 'fc.weight': (5, 10), 'fc.bias': (5,)}
    head = {f'head.{key}': torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    return {f'backbone.{key}': value for key, value in model.state_dict().items()} | head


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert actual[key].shape == value.shape, key
        assert torch.equal(actual[key], value), key


def with_head(layout, model, ours):
    """The layout written by hand, with the head of ``ours``."""
    out = foreign_state_dict(layout, model)
    for theirs, own in zip(HEADS[layout], ('head.norm', 'head.fc'), strict=True):
        out |= {f'{theirs}.{kind}': ours[f'{own}.{kind}'] for kind in ('weight', 'bias')}
    return out


def test_every_layout_is_tried():
    tried = {*HEADS, 'mmcnv2', 'official-fcmae'}
    assert tried == {name for name, format in WRITABLE.items() if 'ConvNeXtV2' in format.networks}


@pytest.mark.parametrize('layout', HEADS)
def test_a_classifier_to_others_and_back(layout, source):
    ours = classifier(source)
    theirs, found, left_out = convert_state_dict(ours, layout)
    assert (found, left_out) == ('mmcnv2', [])
    assert_same(theirs, with_head(layout, source, ours))
    back, found, left_out = convert_state_dict(theirs, 'mmcnv2')
    assert (found, left_out) == (layout, [])
    assert_same(back, ours)


@pytest.mark.parametrize('to', HEADS)
@pytest.mark.parametrize('layout', HEADS)
def test_from_one_to_another(layout, to, source):
    ours = classifier(source)
    converted, _, left_out = convert_state_dict(with_head(layout, source, ours), to)
    assert not left_out
    assert_same(converted, with_head(to, source, ours))


def test_from_two_dimensional_linear_layers(source):
    """As timm has them from tiny on: more channels than nano."""
    arch = dict(depths=(1, 1, 1, 1), channels=(96, 8, 8, 8))
    converted, *_ = convert_state_dict(build_backbone(arch, out_norm=False).state_dict(), 'timm')
    assert converted['stages.0.blocks.0.mlp.fc1.weight'].shape == (384, 96)
    converted, *_ = convert_state_dict(source.state_dict(), 'timm')
    assert converted['stages.0.blocks.0.mlp.fc1.weight'].shape == (24, 6, 1, 1)


def test_official_sparse_pre_training(source):
    weights = sparse_state_dict(source)
    back, found, left_out = convert_state_dict(weights, 'mmcnv2')
    assert found == 'official-fcmae'
    assert left_out == [key for key in weights if not key.startswith('encoder.')]
    assert_same(back, {f'backbone.{key}': value for key, value in source.state_dict().items()})


def test_a_whole_fcmae_to_the_official_pre_training_and_back():
    """The layout is written by hand (helpers/foreign.py); both ways are exact, and nothing is left out."""
    model = build_fcmae(OTHER_ARCH, decoder_depth=2, in_channels=4)
    theirs, found, left_out = convert_state_dict(model.state_dict(), 'official-fcmae')
    assert (found, left_out) == ('mmcnv2', [])
    assert_same(theirs, official_fcmae_state_dict(model))
    back, found, left_out = convert_state_dict(theirs, 'mmcnv2')
    assert (found, left_out) == ('official-fcmae', [])
    assert_same(back, model.state_dict())
    again, *_ = convert_state_dict(back, 'official-fcmae')
    assert_same(again, theirs)


def test_the_official_pre_training_takes_whole_models_of_v2_only(source):
    with pytest.raises(ValueError, match=r"'official-fcmae' is the format of a whole FCMAE, .*mask_token is missing"):
        convert_state_dict(source.state_dict(), 'official-fcmae')
    first = build_fcmae(OTHER_ARCH, backbone=dict(type='mmcnv2.ConvNeXt'))
    with pytest.raises(ValueError, match="is of a ConvNeXt, and 'official-fcmae' is a format of ConvNeXtV2"):
        convert_state_dict(first.state_dict(), 'official-fcmae')
    back, _, left_out = convert_state_dict(first.state_dict(), 'mmcnv2')
    assert_same(back, first.state_dict())
    assert left_out == []


def test_a_decoder_and_output_norms_are_named_when_left_out():
    model = build_fcmae(OTHER_ARCH)
    converted, _, left_out = convert_state_dict(model.state_dict(), 'timm')
    assert len(converted) == len(model.backbone.state_dict())
    assert left_out == [key for key in model.state_dict() if not key.startswith('backbone.')]

    backbone = build_backbone(OTHER_ARCH)
    norms = {key for key in backbone.state_dict() if key.startswith('norm')}
    for layout in ('official', 'timm', 'transformers'):
        assert set(convert_state_dict(backbone.state_dict(), layout)[2]) == norms
    theirs, _, left_out = convert_state_dict(backbone.state_dict(), 'mmpretrain')
    assert not left_out
    back, *_ = convert_state_dict(theirs, 'mmcnv2')
    assert_same(back, {f'backbone.{key}': value for key, value in backbone.state_dict().items()})


@pytest.mark.parametrize('in_channels', [1, 4])
def test_other_input_channels(in_channels):
    model = build_backbone(OTHER_ARCH, out_norm=False, in_channels=in_channels)
    theirs, *_ = convert_state_dict(model.state_dict(), 'transformers')
    back, *_ = convert_state_dict(theirs, 'mmcnv2')
    assert_same(back, {f'backbone.{key}': value for key, value in model.state_dict().items()})


def test_what_cannot_be_converted(source):
    with pytest.raises(
        ValueError, match='can write the formats mmcnv2, official, official-fcmae, timm, mmpretrain, transf'
    ):
        convert_state_dict(source.state_dict(), 'keras')
    with pytest.raises(ValueError, match='no weights of a ConvNeXt V2'):
        convert_state_dict({'conv1.weight': torch.zeros(1)}, 'timm')
    weights = source.state_dict()
    del weights['stages.3.1.grn.beta']
    with pytest.raises(ValueError, match=r'stages\.3\.1\.grn\.beta is missing'):
        convert_state_dict(weights, 'timm')
    del weights['downsample_layers.0.0.weight']
    with pytest.raises(ValueError, match=r'downsample_layers\.0\.0\.weight is missing'):
        convert_state_dict(weights, 'timm')
    weights = source.state_dict()
    weights['stages.1.0.pwconv1.weight'] = torch.zeros(3, 3)
    with pytest.raises(ValueError, match=r'stages\.1\.0\.pwconv1\.weight is \(3, 3\), expected \(16, 4\)'):
        convert_state_dict(weights, 'timm')


# ---- ConvNeXt, the first version: the formats themselves are compared with real models (test_real_models.py)

FIRST_VERSION = [name for name, format in WRITABLE.items() if 'ConvNeXt' in format.networks]


@pytest.mark.parametrize('layout', FIRST_VERSION)
def test_a_classifier_of_the_first_version_to_others_and_back(layout):
    source = build_backbone(OTHER_ARCH, type='mmcnv2.ConvNeXt', out_norm=False)
    ours = classifier(source)
    theirs, found, left_out = convert_state_dict(ours, layout)
    assert (found, left_out) == ('mmcnv2', [])
    assert len(theirs) == len(ours)
    back, found, left_out = convert_state_dict(theirs, 'mmcnv2')
    assert (found, left_out) == (layout, [])
    assert_same(back, ours)


def test_a_format_of_the_other_version_is_refused(source):
    with pytest.raises(ValueError, match="is of a ConvNeXtV2, and 'torchvision' is a format of ConvNeXt"):
        convert_state_dict(source.state_dict(), 'torchvision')
    first = build_backbone(OTHER_ARCH, type='mmcnv2.ConvNeXt').state_dict()
    with pytest.raises(ValueError, match="is of a ConvNeXt, and 'transformers' is a format of ConvNeXtV2"):
        convert_state_dict(first, 'transformers')
