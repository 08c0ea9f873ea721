"""Depthwise convolution whose weight gradient is also fast on a CPU.

oneDNN takes 5 to 10 times as long for the gradient of a 7x7 depthwise weight as for the convolution itself. That
gradient is a convolution as well, of each channel of each sample with its output gradient as the kernel, and computed
as such it takes a half to a third of the time (``docs/measurements/benchmarks.md``).
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
        (N, C, H, W), with the memory format of ``F.conv2d``.
    """
    fp32_on_cpu = x.device.type == 'cpu' and x.dtype == weight.dtype == torch.float32
    if fp32_on_cpu and torch.is_grad_enabled() and weight.requires_grad and not torch.is_autocast_enabled('cpu'):
        return _DepthwiseConv2d.apply(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])


class _DepthwiseConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        n, channels, height, width = x.shape
        padding = weight.shape[-1] // 2
        # If asked for the bias gradient, oneDNN would compute the weight gradient as well.
        grad_bias = grad.sum(dim=(0, 2, 3)) if ctx.needs_input_grad[2] else None
        grad_x, _, _ = torch.ops.aten.convolution_backward(
            *(grad, x, weight, None, [1, 1], [padding, padding], [1, 1], False, [0, 0], channels),
            output_mask=[ctx.needs_input_grad[0], False, False],
        )
        x = x.reshape(1, n * channels, height, width)
        kernels = grad.reshape(n * channels, 1, height, width)
        grad_weight = F.conv2d(x, kernels, padding=padding, groups=n * channels)
        return grad_x, grad_weight.view(n, *weight.shape).sum(dim=0), grad_bias
