"""The layer norm against torch's in float64."""

import pytest
import torch
from helpers.models import error
from torch import nn

from mmcnv2.models.layers import layer_norm


def ours(layer, x):
    return layer_norm(x, layer)


def run(layer, x, grad, compute=nn.Module.__call__):
    x = x.detach().requires_grad_()
    y = compute(layer, x)
    return [y.detach(), *torch.autograd.grad(y, (x, layer.weight, layer.bias), grad)]


@pytest.mark.parametrize('shape', [(3, 7, 5, 40), (2, 600, 8)])
@pytest.mark.parametrize('autocast', [True, False])
def test_gradients_of_weight_and_bias_in_bfloat16_are_sums_in_fp32(shape, autocast):
    """Weights in fp32 (autocast) have gradients that are not rounded at all."""
    torch.manual_seed(0)
    layer = nn.LayerNorm(shape[-1], eps=1e-6)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x, grad = torch.randn(shape).bfloat16(), (1 + torch.rand(shape)).bfloat16()
    if not autocast:
        layer.bfloat16()
    reference = nn.LayerNorm(shape[-1], eps=1e-6).double()
    reference.load_state_dict(layer.state_dict())
    expected = run(reference, x.double(), grad.double())
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        actual = run(layer, x, grad, ours)
    rounded = 4e-3
    for value, wanted, tolerance in zip(
        actual, expected, (rounded, rounded, *2 * [1e-5 if autocast else rounded]), strict=True
    ):
        assert error(value, wanted) < tolerance
    assert [value.dtype for value in actual] == 2 * [torch.bfloat16] + 2 * [layer.weight.dtype]


def test_a_thousand_ones():
    layer, x = nn.LayerNorm(2), torch.randn(1000, 2).bfloat16()
    layer_norm(x, layer).sum().backward()
    assert (layer.bias.grad == 1000).all()
    layer.zero_grad()
    layer(x).sum().backward()
    assert (layer.bias.grad < 999).all(), 'torch counts right: the function is not needed any more'


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_otherwise_the_layer_is_called(dtype):
    layer = nn.LayerNorm(6).to(dtype)
    x, grad = torch.randn(5, 6, dtype=dtype), torch.randn(5, 6, dtype=dtype)
    for value, expected in zip(run(layer, x, grad, ours), run(layer, x, grad), strict=True):
        assert torch.equal(value, expected)


def test_a_layer_with_hooks_is_called():
    layer, calls = nn.LayerNorm(6), []
    layer.register_forward_hook(lambda *_: calls.append(1))
    layer_norm(torch.randn(5, 6).bfloat16().requires_grad_(), layer)
    assert calls


def test_frozen_weights():
    layer = nn.LayerNorm(6).requires_grad_(False)
    x = torch.randn(5, 6).bfloat16().requires_grad_()
    layer_norm(x, layer).sum().backward()
    assert x.grad is not None and layer.weight.grad is None
