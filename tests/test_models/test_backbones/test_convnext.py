"""ConvNeXt, the first version: against the paper's equations and timm. What it shares with V2 is tested there."""

import pytest
import timm
import torch
from helpers import reference
from helpers.models import (
    CASES,
    FAST_BACKENDS,
    build_backbone,
    build_fcmae,
    case,
    double_weights,
    error,
    gradients,
    weighted_sum,
)
from mmengine.registry import MODELS
from peft import LoraConfig, inject_adapter_in_model

from mmcnv2.models import ConvNeXt
from mmcnv2.models.backbones.convnext import LAYER_SCALE

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
# Millions of parameters, with the head of 1000 classes, in the paper's table 9 and in the official repository.
OFFICIAL = dict(tiny=28.6, small=50.2, base=88.6, large=197.8, xlarge=350.2)


def v1(arch, **kwargs):
    return build_backbone(arch, type='mmcnv2.ConvNeXt', **kwargs)


def compare(maps, expected, model, weights, dtype):
    for actual, wanted in zip(maps, expected, strict=True):
        assert actual.dtype == dtype
        assert error(actual, wanted) < TOLERANCE[dtype]
    weighted_sum(maps).backward()
    weighted_sum(expected).backward()
    assert set(gradients(model)) == set(weights)
    for key, grad in gradients(model).items():
        assert weights[key].grad.norm() > 0
        assert error(grad, weights[key].grad) < TOLERANCE[dtype], key


@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('name', CASES)
def test_maps_and_gradients_equal_the_reference(name, dtype):
    arch, images, _ = case(name, dtype)
    model = v1(arch, in_channels=images.shape[1]).to(dtype)
    weights = double_weights(model)
    compare(model(images), reference.features(weights, images.double()), model, weights, dtype)


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('backend', FAST_BACKENDS)
def test_masked_maps_and_gradients_equal_the_reference(backend, name):
    arch, images, mask = case(name)
    model = v1(arch, in_channels=images.shape[1], sparse_backend=backend).double()
    weights = double_weights(model)
    compare(model(images, mask), reference.features(weights, images, mask), model, weights, torch.float64)


@pytest.mark.parametrize('name', ['square', 'wide, 4 channels'])
@pytest.mark.parametrize('backend', FAST_BACKENDS)
def test_pre_training_equals_the_reference(backend, name):
    """The blocks of the decoder are those of the backbone."""
    arch, images, mask = case(name)
    backbone = dict(type='mmcnv2.ConvNeXt', sparse_backend=backend)
    model = build_fcmae(arch, in_channels=images.shape[1], backbone=backbone, decoder_depth=2).double()
    weights = double_weights(model)
    expected, _ = reference.fcmae(weights, images, mask)
    expected.backward()
    loss = model.loss(images, mask=mask)['loss']
    loss.backward()
    assert error(loss.detach(), expected.detach()) < 1e-11
    assert {'decoder.0.gamma', 'backbone.stages.3.0.gamma'} < set(weights)
    for key, grad in gradients(model).items():
        assert error(grad, weights[key].grad) < 1e-11, key


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_is_close_to_fp32(dtype):
    arch, images, mask = case('square', torch.float32)
    model = v1(arch)
    weighted_sum(model(images, mask)).backward()
    expected = gradients(model)
    model.zero_grad()
    with torch.autocast('cpu', dtype):
        maps = model(images, mask)
    weighted_sum(maps).backward()
    assert all(map_.dtype == dtype for map_ in maps)
    for key, grad in gradients(model).items():
        assert grad.dtype == torch.float32
        assert error(grad, expected[key]) < 5e-2, key


@pytest.mark.parametrize('masked', [False, True])
def test_layers_that_were_changed_are_called(masked):
    """LoRA of peft on the linear layers, and a hook: the network computes what the layers compute."""
    arch, images, mask = case('small', torch.float32)
    mask = mask if masked else None
    model = v1(arch)
    expected = model(images, mask)
    calls = []
    handle = model.stages[0][0].pwconv2.register_forward_hook(lambda *_: calls.append(1))
    for actual, wanted in zip(model(images, mask), expected, strict=True):
        assert error(actual, wanted) < 1e-6
    assert calls
    handle.remove()
    inject_adapter_in_model(LoraConfig(target_modules=['pwconv1'], init_lora_weights=False), model)
    assert error(model(images, mask)[-1], expected[-1]) > 1e-3


def test_with_cp_changes_nothing():
    arch, images, mask = case('small', torch.float32)
    results = []
    for with_cp in (False, True):
        model = v1(arch, with_cp=with_cp)
        weighted_sum(model(images, mask)).backward()
        results.append(gradients(model))
    for key, grad in results[0].items():
        assert torch.equal(grad, results[1][key]), key


def test_keeps_five_values_a_position():
    """x and h of the MLP, C + 4C; the modules would keep 10C."""
    channels = 8
    block = ConvNeXt(dict(depths=(1,) * 4, channels=(channels,) * 4)).stages[0][0]
    x = torch.randn(50, 6, channels, requires_grad=True)
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.update({t.data_ptr(): t}) or t, lambda t: t):
        block.mlp(x, None)
    parameters = {p.data_ptr() for p in block.parameters()}
    assert sum(t.numel() for address, t in kept.items() if address not in parameters) == 50 * 6 * 5 * channels


# ---- parameters


@pytest.mark.parametrize('name', OFFICIAL)
def test_sizes_of_the_official_networks(name):
    with torch.device('meta'):
        model = v1(name, randomised=False, out_norm=False)
    channels = model.channels[-1]
    head = 2 * channels + 1000 * channels + 1000  # LayerNorm and Linear
    assert round((sum(p.numel() for p in model.parameters()) + head) / 1e6, 1) == OFFICIAL[name]


def test_initial_values():
    model = v1('atto', randomised=False)
    for name, p in model.named_parameters():
        if name.endswith('gamma'):
            assert (p == LAYER_SCALE).all()
        elif p.ndim == 1:
            assert (p == name.endswith('weight')).all(), name
    assert not any('grn' in name for name in model.state_dict())


@pytest.mark.parametrize(
    'name', ['tiny', 'small', *(pytest.param(name, marks=pytest.mark.slow) for name in ('base', 'large', 'xlarge'))]
)
def test_features_equal_those_of_timm(name):
    """With the weights of timm's network, read as a checkpoint of timm's."""
    with torch.device('meta'):  # to initialise hundreds of millions of weights twice would take long
        other = timm.create_model(f'convnext_{name}', features_only=True).eval()
        model = MODELS.build(dict(type='mmcnv2.ConvNeXt', arch=name, out_norm=False))
    other.to_empty(device='cpu')
    model.to_empty(device='cpu')
    with torch.no_grad():
        for key, parameter in other.named_parameters():
            # As timm initialises gamma, blocks would hardly count.
            parameter.normal_(std=0.02) if parameter.ndim > 1 else parameter.fill_(0.3 if key.endswith('gamma') else 1)
    match = {key: other.state_dict()[to_timm(key)].view(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(match)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for actual, expected in zip(model(images), other(images), strict=True):
            assert error(actual, expected) < 1e-5


def to_timm(key):
    """By hand, for features_only."""
    parts = key.split('.')
    if parts[0] == 'downsample_layers':
        return '.'.join(
            [f'stem_{parts[2]}' if parts[1] == '0' else f'stages_{parts[1]}.downsample.{parts[2]}', *parts[3:]]
        )
    names = dict(dwconv='conv_dw', norm='norm', pwconv1='mlp.fc1', pwconv2='mlp.fc2', gamma='gamma')
    return '.'.join([f'stages_{parts[1]}.blocks.{parts[2]}.{names[parts[3]]}', *parts[4:]])
