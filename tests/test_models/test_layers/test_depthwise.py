"""The depthwise convolution against torch's own: every path, every gradient, memory formats."""

import pytest
import torch
import torch.nn.functional as F
from helpers.models import error

from mmcnv2.models.layers import depthwise_conv2d
from mmcnv2.models.layers.depthwise import _DepthwiseConv2d

SHAPES = [(3, 5, 8, 6), (1, 40, 7, 7), (2, 4, 1, 2), (4, 1, 16, 3)]


def problem(shape=SHAPES[0], kernel_size=7, dtype=torch.float32, channels_last=True):
    """Images, weight, bias, and the gradient of the output."""
    generator = torch.Generator().manual_seed(0)
    shapes = shape, (shape[1], 1, kernel_size, kernel_size), (shape[1],), shape
    tensors = [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]
    if channels_last:
        tensors = [t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in tensors]
    return [t.requires_grad_() for t in tensors[:3]], tensors[3]


def run(function, leaves, grad):
    out = function(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def like_torch(x, weight, bias):
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])


@pytest.mark.parametrize('channels_last', [True, False])
@pytest.mark.parametrize('kernel_size', [1, 3, 7])
@pytest.mark.parametrize('shape', SHAPES)
def test_values_gradients_and_memory_formats_are_those_of_conv2d(shape, kernel_size, channels_last):
    leaves, grad = problem(shape, kernel_size, channels_last=channels_last)
    actual, like = run(depthwise_conv2d, leaves, grad), run(like_torch, leaves, grad)
    assert [t.stride() for t in actual[:2]] == [t.stride() for t in like[:2]]
    in_fp64 = run(like_torch, [leaf.detach().double().requires_grad_() for leaf in leaves], grad.double())
    for value, expected in zip(actual, in_fp64, strict=True):
        assert value.shape == expected.shape
        assert value.dtype == torch.float32
        assert error(value, expected) < 3e-6


def test_gradcheck():
    leaves, _ = problem((2, 3, 4, 3), 3, torch.float64)
    assert torch.autograd.gradcheck(_DepthwiseConv2d.apply, leaves)
    assert torch.autograd.gradcheck(_DepthwiseConv2d.apply, [*leaves[:2], None])


@pytest.mark.parametrize('shape', SHAPES)
def test_bfloat16(shape):
    """Gradients of weight and bias are sums in fp32 of what is in bfloat16, and are not rounded to it."""
    (x, weight, bias), grad = problem(shape)
    x, grad = x.detach().bfloat16().requires_grad_(), grad.bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        actual = run(depthwise_conv2d, (x, weight, bias), grad)
    in_fp64 = [leaf.detach().bfloat16().double().requires_grad_() for leaf in (x, weight, bias)]
    expected = run(like_torch, in_fp64, grad.double())
    assert [value.dtype for value in actual] == 2 * [torch.bfloat16] + 2 * [torch.float32]
    for value, wanted, tolerance in zip(actual, expected, (1e-2, 1e-2, 3e-6, 3e-6), strict=True):
        assert error(value, wanted) < tolerance


def test_only_training_in_fp32_or_bfloat16_on_a_cpu_needs_the_special_gradient(monkeypatch):
    calls = []
    monkeypatch.setattr(_DepthwiseConv2d, 'apply', lambda x, *args: calls.append(x.dtype) or x)
    (x, weight, bias), _ = problem()
    with torch.no_grad():
        depthwise_conv2d(x, weight, bias)
    depthwise_conv2d(x, weight.detach(), bias)
    depthwise_conv2d(x.double(), weight.double(), bias.double())
    with torch.autocast('cpu', torch.float16):
        assert depthwise_conv2d(x, weight, bias).dtype == torch.float16
    assert not calls
    depthwise_conv2d(x, weight, bias)
    with torch.autocast('cpu', torch.bfloat16):
        depthwise_conv2d(x, weight, bias)
    assert calls == [torch.float32, torch.bfloat16]


@pytest.mark.parametrize('frozen', [0, 2])
def test_only_what_needs_a_gradient_has_one(frozen):
    leaves, grad = problem()
    expected = run(depthwise_conv2d, leaves, grad)[1:]
    leaves[frozen].requires_grad_(False)
    depthwise_conv2d(*leaves).backward(grad)
    for i, leaf in enumerate(leaves):
        assert leaf.grad is None if i == frozen else torch.equal(leaf.grad, expected[i])


def test_keeps_the_images_and_the_weight_alone():
    (x, weight, bias), _ = problem()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        depthwise_conv2d(x, weight, bias)
    assert kept == [x.data_ptr(), weight.data_ptr()]


@pytest.mark.slow
def test_torch_compile():
    leaves, grad = problem()
    compiled = torch.compile(depthwise_conv2d, backend='aot_eager', fullgraph=True)
    expected = run(depthwise_conv2d, leaves, grad)
    for actual, wanted in zip(run(compiled, leaves, grad), expected, strict=True):
        assert error(actual, wanted) < 1e-6
