"""GRN against the formula of the paper, by hand and on random maps."""

import pytest
import torch
from helpers import reference
from helpers.models import error

from mmcnv2.models.layers import GRN


def random_grn(channels, dtype=torch.float64):
    torch.manual_seed(0)
    layer = GRN(channels).to(dtype)
    torch.nn.init.normal_(layer.gamma)
    torch.nn.init.normal_(layer.beta)
    return layer


def test_by_hand():
    """Two positions, two channels: norms 5 and 10, their mean 7.5, responses 2/3 and 4/3."""
    layer = GRN(2, eps=0.0).double()
    layer.gamma.data = torch.tensor([3.0, 6.0]).double()
    layer.beta.data = torch.tensor([0.5, -1.0]).double()
    x = torch.tensor([[[3.0, 6.0], [4.0, 8.0]]]).double()
    # channel 0: x * (3 * 2/3 + 1) + 0.5; channel 1: x * (6 * 4/3 + 1) - 1
    expected = torch.tensor([[[9.5, 53.0], [12.5, 71.0]]]).double()
    torch.testing.assert_close(layer(x), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize('shape', [(2, 5, 7, 6), (1, 1, 1, 6), (3, 4, 1, 6)])
def test_equals_the_reference_with_gradients(shape):
    layer = random_grn(6)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    actual = layer(x)
    expected = reference.grn(x.permute(0, 3, 1, 2), layer.gamma, layer.beta).permute(0, 2, 3, 1)
    assert error(actual, expected) < 1e-14
    leaves = (x, layer.gamma, layer.beta)
    weight = torch.randn_like(actual)
    for a, b in zip(
        torch.autograd.grad((actual * weight).sum(), leaves),
        torch.autograd.grad((expected * weight).sum(), leaves),
        strict=True,
    ):
        assert error(a, b) < 1e-13


def test_tokens_and_maps_are_the_same_positions():
    layer, x = random_grn(6), torch.randn(2, 3, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x.flatten(1, 2)), layer(x).flatten(1, 2), rtol=1e-14, atol=0)


def test_norm_is_per_sample():
    layer, x = random_grn(6), torch.randn(3, 4, 6, dtype=torch.float64)
    x[1] *= 100
    for i in range(3):
        torch.testing.assert_close(layer(x)[i], layer(x[i : i + 1])[0], rtol=1e-14, atol=0)


def test_starts_as_the_identity():
    layer, x = GRN(6), torch.randn(2, 5, 6)
    assert {key: value.tolist() for key, value in layer.state_dict().items()} == dict(gamma=[0] * 6, beta=[0] * 6)
    assert torch.equal(layer(x), x)


def test_a_position_of_zeros_does_not_count():
    layer, x = random_grn(6), torch.randn(2, 5, 6, dtype=torch.float64)
    padded = torch.cat([x, torch.zeros_like(x)], dim=1)
    torch.testing.assert_close(layer(padded)[:, :5], layer(x), rtol=1e-14, atol=0)


def test_all_zeros_has_a_finite_gradient():
    layer = random_grn(4)
    x = torch.zeros(1, 3, 4, dtype=torch.float64, requires_grad=True)
    out = layer(x)
    assert torch.equal(out, layer.beta.expand_as(x))
    out.sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_norm_neither_overflows_nor_coarsens(dtype):
    """100 squared, 4096 times over, is 4e7: far beyond fp16, and beyond what bf16 can add up."""
    layer = random_grn(4, torch.float32)
    x = 100 + torch.randn(1, 4096, 4)
    expected = layer(x)
    with torch.autocast('cpu', dtype):
        actual = layer(x.to(dtype))
    assert actual.dtype == dtype
    assert error(actual, expected) < 1e-2


def test_loads_official_shapes():
    """Official checkpoints hold (1, 1, 1, C); what is loaded from is left as it was."""
    official = dict(gamma=torch.randn(1, 1, 1, 6), beta=torch.randn(1, 1, 1, 6))
    layer = GRN(6)
    layer.load_state_dict(official)
    assert torch.equal(layer.gamma, official['gamma'].flatten())
    assert torch.equal(layer.beta, official['beta'].flatten())
    assert official['gamma'].shape == (1, 1, 1, 6)
    with pytest.raises(RuntimeError, match='size mismatch'):
        layer.load_state_dict(dict(gamma=torch.zeros(1, 1, 1, 5), beta=torch.zeros(6)))
