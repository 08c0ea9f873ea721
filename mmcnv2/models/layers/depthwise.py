"""Depthwise convolution whose weight gradient is also fast on a CPU.

oneDNN takes 5 to 10 times as long for the gradient of a 7x7 depthwise weight as for the convolution itself, and longer
in bfloat16. That gradient is a convolution as well, of each channel of each sample with its output gradient as the
kernel, and computed as such, in fp32, it takes a half to a third of the time (``docs/measurements/benchmarks.md``).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute ``F.conv2d`` with stride 1, 'same' padding and one group per channel.

    Args:
        x: (N, C, H, W).
        weight: (C, 1, k, k), k odd.
        bias: (C,) or None.

    Returns:
        (N, C, H, W), with the memory format of ``F.conv2d``, in the dtype of ``x`` or of autocast.
    """
    if x.device.type == 'cpu' and torch.is_grad_enabled() and weight.requires_grad:
        dtype = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
        if dtype in (torch.float32, torch.bfloat16):
            return _DepthwiseConv2d.apply(x.to(dtype), weight, bias)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])


class _DepthwiseConv2d(torch.autograd.Function):
    """The convolution in the dtype of ``x``. Weight and bias may have another one, and so do their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        bias = None if bias is None else bias.to(x.dtype)
        return F.conv2d(x, weight.to(x.dtype), bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        n, channels, height, width = x.shape
        padding = weight.shape[-1] // 2
        # If asked for the bias gradient, oneDNN would compute the weight gradient as well.
        grad_bias = grad.sum(dim=(0, 2, 3), dtype=weight.dtype) if ctx.needs_input_grad[2] else None
        grad_x, _, _ = torch.ops.aten.convolution_backward(
            *(grad, x, weight.to(x.dtype), None, [1, 1], [padding, padding], [1, 1], False, [0, 0], channels),
            output_mask=[ctx.needs_input_grad[0], False, False],
        )
        # One copy makes them NCHW and at least fp32.
        dtype = torch.promote_types(x.dtype, torch.float32)
        x, grad = (t.to(dtype, memory_format=torch.contiguous_format) for t in (x, grad))
        x = x.view(1, n * channels, height, width)
        kernels = grad.view(n * channels, 1, height, width)
        with torch.autocast('cpu', enabled=False):  # in case backward is called where it is enabled
            grad_weight = F.conv2d(x, kernels, padding=padding, groups=n * channels)
        return grad_x, grad_weight.view(n, *weight.shape).sum(dim=0).to(weight.dtype), grad_bias
