"""Layers that were changed from outside are called, dense and masked: hooks, LoRA, parametrization, other classes."""

import copy

import pytest
import torch
from helpers.models import ARCH, build_backbone, build_fcmae, case, error, randomise
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.utils import parametrize

from mmcnv2.models.layers import is_plain

# Every kind of layer that is computed by a function of its weights.
LAYERS = (
    'downsample_layers.0.0',
    'downsample_layers.2.1',
    'stages.2.1.dwconv',
    'stages.2.1.pwconv1',
    'stages.2.1.grn',
    'stages.2.1.pwconv2',
)
MASKED = [None, 'dense', 'torch']  # the full grid, the masked grid, visible tokens with any backend


def features(backbone, backend):
    """Maps of a small batch, dense (None) or masked by a backend."""
    _, images, mask = case('square', torch.float32)
    if backend is None:
        return backbone(images)
    backbone.sparse_backend = backend
    return backbone(images, mask)


@pytest.mark.parametrize('backend', MASKED)
def test_forward_hooks_run_on_every_layer_and_container_and_change_nothing(backend):
    backbone = build_backbone(ARCH)
    expected = features(backbone, backend)
    called = []
    for name, module in backbone.named_modules():
        if name:
            module.register_forward_hook(lambda module, args, output, name=name: called.append(name))
    actual = features(backbone, backend)
    lists = {'downsample_layers', 'stages'}  # which nobody calls
    assert sorted(called) == sorted({name for name, _ in backbone.named_modules()} - {'', *lists})
    for one, other in zip(actual, expected, strict=True):
        assert error(one, other) < 1e-5


@pytest.mark.parametrize('backend', MASKED)
@pytest.mark.parametrize('name', LAYERS)
def test_what_a_hook_returns_counts(name, backend):
    """Twice the output of a layer is what twice its weights and biases give."""
    backbone = build_backbone(ARCH).double()
    doubled = copy.deepcopy(backbone)
    layer = doubled.get_submodule(name)
    with torch.no_grad():
        if name.endswith('grn'):  # x + gamma * (x * response) + beta
            layer.register_forward_hook(lambda module, args, output: args[0] + 2 * (output - args[0]))
            other = backbone.get_submodule(name)
            other.gamma.mul_(2)
            other.beta.mul_(2)
        else:
            layer.register_forward_hook(lambda module, args, output: 2 * output)
            for parameter in backbone.get_submodule(name).parameters():
                parameter.mul_(2)
    _, images, mask = case('square')
    arguments = (images, None if backend is None else mask)
    doubled.sparse_backend = backbone.sparse_backend = backend or 'auto'
    for one, other in zip(doubled(*arguments), backbone(*arguments), strict=True):
        assert error(one, other) < 1e-12


@pytest.mark.parametrize('backend', MASKED)
def test_lora_of_peft(backend):
    """On linear layers and convolutions: it starts as the network, gets gradients, and merged it counts."""
    backbone = build_backbone(ARCH)
    expected = features(copy.deepcopy(backbone), backend)
    config = LoraConfig(r=2, target_modules=['pwconv1', 'pwconv2', 'downsample_layers.2.1'], lora_alpha=4)
    adapted = get_peft_model(backbone, config)
    for one, other in zip(features(adapted.base_model.model, backend), expected, strict=True):
        assert error(one, other) < 1e-5  # LoRA's B starts at zero

    added = {name: p for name, p in adapted.named_parameters() if 'lora_' in name}
    assert {name.split('.lora_')[0].rpartition('.')[2] for name in added} == {'pwconv1', 'pwconv2', '1'}
    for parameter in added.values():
        nn.init.normal_(parameter)
    out = features(adapted.base_model.model, backend)
    sum(map_.square().mean() for map_ in out).backward()
    assert all(parameter.grad is not None and parameter.grad.norm() > 0 for parameter in added.values())
    # By peft's own sum of the weights, in a network that has no LoRA any more and takes the fast way again.
    merged = adapted.merge_and_unload()
    assert is_plain(merged.stages[0][0].pwconv1, nn.Linear)
    for one, other in zip(features(merged, backend), out, strict=True):
        assert error(one, other) < 1e-4


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


@pytest.mark.parametrize('backend', [None, 'torch'])
def test_parametrized_weights(backend):
    backbone, halved = build_backbone(ARCH), build_backbone(ARCH)
    parametrize.register_parametrization(halved.stages[1][0].pwconv2, 'weight', Halved())
    with torch.no_grad():
        backbone.stages[1][0].pwconv2.weight.div_(2)
    for one, other in zip(features(halved, backend), features(backbone, backend), strict=True):
        assert error(one, other) < 1e-5


def test_quantized_linear_layers_are_called():
    """The linear layers alone, by torch's dynamic quantization to 8 bits: close to the network, but not the same."""
    backbone = build_backbone(ARCH, out_norm=False).eval()
    quantized = torch.ao.quantization.quantize_dynamic(copy.deepcopy(backbone), {nn.Linear}, dtype=torch.qint8)
    assert not is_plain(quantized.stages[0][0].pwconv1, nn.Linear)
    with torch.no_grad():
        difference = error(features(quantized, None)[-1], features(backbone, None)[-1])
    assert 1e-4 < difference < 0.1


def test_prediction_layer_of_fcmae():
    model = build_fcmae(ARCH)
    _, images, mask = case('square', torch.float32)
    expected = model.loss(images, mask=mask)['loss']
    called = []
    model.pred.register_forward_hook(lambda *args: called.append(args[2].shape))
    assert error(model.loss(images, mask=mask)['loss'], expected) < 1e-5
    assert called == [(2 * 5, 32 * 32 * 3, 1, 1)]  # of two samples the five removed patches


@pytest.mark.parametrize(
    'change',
    [
        lambda layer: layer.register_forward_hook(lambda *args: None),
        lambda layer: layer.register_forward_pre_hook(lambda *args: None),
        lambda layer: layer.register_full_backward_hook(lambda *args: None),
        lambda layer: layer.register_full_backward_pre_hook(lambda *args: None),
        lambda layer: nn.utils.parametrizations.weight_norm(layer),
        lambda layer: setattr(layer, 'forward', layer.forward),
        lambda layer: setattr(layer, '__class__', type('Linear', (nn.Linear,), {})),
    ],
)
def test_what_is_not_plain(change):
    layer = randomise(nn.Linear(2, 2))
    assert is_plain(layer, nn.Linear)
    handle = change(layer)
    assert not is_plain(layer, nn.Linear)
    if hasattr(handle, 'remove'):
        handle.remove()
        assert is_plain(layer, nn.Linear)
