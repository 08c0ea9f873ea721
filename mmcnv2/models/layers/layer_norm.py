"""Layer norm whose gradients of weight and bias are sums in fp32, also in bfloat16 on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .plain import is_plain


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Call a layer norm over the last dimension of ``x`` (..., C); the result has the shape and dtype of ``x``.

    On a CPU, torch adds up the gradients of weight and bias in the dtype of the input: in bfloat16, of a thousand ones
    256 are counted. (Autocast on a GPU computes the layer in fp32, that on a CPU leaves it alone.) The same layer is
    computed here as a function whose gradients are right.
    """
    reduced = x.device.type == 'cpu' and x.dtype == torch.bfloat16 and torch.is_grad_enabled()
    if reduced and is_plain(norm, nn.LayerNorm):
        return _LayerNorm.apply(x, norm.weight, norm.bias, norm.eps)
    return norm(x)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        y, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
        ctx.save_for_backward(x, mean, rstd, weight, bias)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, mean, rstd, weight, bias = ctx.saved_tensors
        dx, dweight, dbias = None, None, None
        if ctx.needs_input_grad[0]:
            dx, _, _ = torch.ops.aten.native_layer_norm_backward(
                dy, x, x.shape[-1:], mean, rstd, weight, bias, [True, False, False]
            )
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            dims = tuple(range(x.ndim - 1))
            given = dy.float()
            dbias = given.sum(dim=dims).to(bias.dtype)
            normalised = x.float().sub_(mean).mul_(rstd)
            dweight = normalised.mul_(given).sum(dim=dims).to(weight.dtype)
        return dx, dweight, dbias, None
