"""The MLPs of ConvNeXt blocks as functions that keep little for backward.

With modules, autograd keeps the pre-activation h, the activation a = gelu(h) and, of ConvNeXt V2, the input u of the
second linear layer, 4C values per position each. These functions keep h alone; backward recomputes the rest.

ConvNeXt V2 (arXiv 2301.00808, figure 5):

    x --W1, b1--> h --gelu--> a --GRN--> u = a * scale + beta --W2, b2--> y        scale = gamma * response(norm) + 1

The scale has one number per sample and channel. With many positions it is cheaper to scale W2 for each sample than to
scale a, and u is never computed: y = a (W2 * scale)^T + W2 beta + b2.

ConvNeXt (arXiv 2201.03545):

    x --W1, b1--> h --gelu--> a --W2, b2--> z --gamma--> y
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .grn import GRN


def grn_mlp(x: Tensor, pwconv1: nn.Linear, grn: GRN, pwconv2: nn.Linear, removed: Tensor | None = None) -> Tensor:
    """Compute ``pwconv2(grn(gelu(pwconv1(x))))``, keeping 5C values per position for backward instead of 13C.

    There are no gradients of gradients. Under autocast, it computes in autocast's dtype, and the norms at least in
    fp32.

    Args:
        x: (N, ..., C), the positions between the first and the last dimension.
        pwconv1: Linear layer from C to 4C, with bias.
        grn: GRN of 4C channels.
        pwconv2: Linear layer from 4C to C, with bias.
        removed: (N, ..., 1) bool, positions that do not count in the norm; None if there are none. The output there
            depends on the biases alone.

    Returns:
        (N, ..., C), in the dtype of ``x`` or of autocast.
    """
    arguments = (
        _in_computed_dtype(x.flatten(1, -2)),
        pwconv1.weight,
        pwconv1.bias,
        pwconv2.weight,
        pwconv2.bias,
        grn.gamma,
        grn.beta,
        grn.eps,
        None if removed is None else removed.flatten(1, -2),
    )
    y = _GRNMLP.apply(*arguments) if torch.is_grad_enabled() else _forward(*arguments)[0]
    return y.view(x.shape)


def _forward(
    x: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    removed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return y (N, P, C) of x (N, P, C), and what backward needs.

    That is h (N, P, 4C), the norms (N, 1, 4C), and both matrices in the dtype of x, in which all is computed but the
    norms.
    """
    w1, b1, w2, b2 = (t.to(x.dtype) for t in (w1, b1, w2, b2))
    h = F.linear(x, w1, b1)
    a = _activation(h, removed)
    norm = _norm(a)
    scale = (gamma * norm / (norm.mean(dim=-1, keepdim=True) + eps) + 1).to(x.dtype)
    beta = beta.to(x.dtype)
    if _scales_weights(x):
        y = torch.baddbmm(torch.addmv(b2, w2, beta), a, (w2 * scale).transpose(1, 2))
    else:
        y = F.linear(torch.addcmul(beta, a, scale), w2, b2)
    return y, h, norm, w1, w2


class _GRNMLP(torch.autograd.Function):
    """The function from x (N, P, C) to y (N, P, C), with P positions per sample.

    Parameters may have another dtype than x, and so do their gradients.
    """

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        y, h, norm, w1, w2 = _forward(*arguments)
        x, *_, gamma, beta, ctx.eps, removed = arguments
        ctx.parameter_dtypes = [t.dtype for t in arguments[1:7]]
        ctx.save_for_backward(x, h, norm, w1, w2, gamma, beta, removed)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, h, norm, w1, w2, gamma, beta, removed = ctx.saved_tensors
        a = _activation(h, removed)
        mean = norm.mean(dim=-1, keepdim=True) + ctx.eps
        response = norm / mean
        scale = (gamma * response + 1).to(x.dtype)
        stats = norm.dtype

        # y = u W2^T + b2 with u = a * scale + beta. da is the part that does not pass through the norm.
        db2 = dy.sum(dim=(0, 1), dtype=stats)
        if _scales_weights(x):
            product = torch.bmm(dy.transpose(1, 2), a)  # (N, C, 4C)
            dscale = (product * w2).sum(dim=1, keepdim=True, dtype=stats)  # (N, 1, 4C)
            dw2 = (product * scale).sum(dim=0).addr_(db2.to(x.dtype), beta.to(x.dtype))
            dbeta = db2 @ w2.to(stats)
            da = torch.bmm(dy, w2 * scale)
        else:
            da = dy @ w2
            dscale = (da * a).sum(dim=1, keepdim=True, dtype=stats)
            dw2 = _outer_sum(dy, torch.addcmul(beta.to(x.dtype), a, scale))
            dbeta = da.sum(dim=(0, 1), dtype=stats)
            da *= scale
        dgamma = (dscale * response).sum(dim=(0, 1))

        # Through response = norm / mean to the norm, and from there to a: d norm / d a = a / norm.
        dresponse = dscale * gamma
        dnorm = (dresponse - (dresponse * response).mean(dim=-1, keepdim=True)) / mean
        da.addcmul_(a, torch.where(norm > 0, dnorm / norm, 0).to(x.dtype))
        del a
        dh = torch.ops.aten.gelu_backward(da, h)
        if removed is not None:
            dh.masked_fill_(removed, 0)
        dx = dh @ w1 if ctx.needs_input_grad[0] else None
        gradients = _outer_sum(dh, x), dh.sum(dim=(0, 1)), dw2, db2, dgamma, dbeta
        return dx, *(t.to(dtype) for t, dtype in zip(gradients, ctx.parameter_dtypes, strict=True)), None, None


def layer_scale_mlp(x: Tensor, pwconv1: nn.Linear, pwconv2: nn.Linear, gamma: Tensor) -> Tensor:
    """Compute ``gamma * pwconv2(gelu(pwconv1(x)))``, keeping 5C values per position for backward instead of 10C.

    There are no gradients of gradients. Under autocast, it computes in autocast's dtype.

    Args:
        x: (..., C).
        pwconv1: Linear layer from C to 4C, with bias.
        pwconv2: Linear layer from 4C to C, with bias.
        gamma: Layer scale, (C,).

    Returns:
        (..., C), in the dtype of ``x`` or of autocast.
    """
    tokens = _in_computed_dtype(x.flatten(0, -2))
    y = _LayerScaleMLP.apply(tokens, pwconv1.weight, pwconv1.bias, pwconv2.weight, pwconv2.bias, gamma)
    return y.view(x.shape)


class _LayerScaleMLP(torch.autograd.Function):
    """The function from x (P, C) to y (P, C). Parameters may have another dtype than x, and so do their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.parameter_dtypes = [t.dtype for t in parameters]
        w1, b1, w2, b2, gamma = (t.to(x.dtype) for t in parameters)
        h = F.linear(x, w1, b1)
        ctx.save_for_backward(x, h, w1, w2, b2, gamma)
        return F.linear(F.gelu(h), w2, b2).mul_(gamma)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, h, w1, w2, b2, gamma = ctx.saved_tensors
        stats = torch.promote_types(x.dtype, torch.float32)
        product = dy.T @ F.gelu(h)  # (C, 4C)
        total = dy.sum(dim=0, dtype=stats)
        # gamma is applied to sums, not to each position: dz = dy * gamma is needed for the way back to x alone.
        dgamma = (product * w2).sum(dim=1, dtype=stats) + total * b2
        dw2, db2 = product * gamma[:, None], total * gamma
        dh = torch.ops.aten.gelu_backward((dy * gamma) @ w2, h)
        dx = dh @ w1 if ctx.needs_input_grad[0] else None
        gradients = dh.T @ x, dh.sum(dim=0), dw2, db2, dgamma
        return dx, *(t.to(dtype) for t, dtype in zip(gradients, ctx.parameter_dtypes, strict=True))


def _in_computed_dtype(x: Tensor) -> Tensor:
    """Return x in the dtype of autocast where it is enabled."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def _activation(h: Tensor, removed: Tensor | None) -> Tensor:
    a = F.gelu(h)
    return a if removed is None else a.masked_fill_(removed, 0)


def _norm(a: Tensor) -> Tensor:
    """Compute the L2 norm over the positions, (N, P, 4C) to (N, 1, 4C), at least in fp32 (see ``GRN``)."""
    dtype = torch.promote_types(a.dtype, torch.float32)
    if a.device.type == 'cpu':
        # The CPU kernel of vector_norm is not vectorised over channels and takes 1.3 to 9 times as long.
        return a.to(dtype).square().sum(dim=1, keepdim=True).sqrt()
    return torch.linalg.vector_norm(a, dim=1, keepdim=True, dtype=dtype)


def _outer_sum(a: Tensor, b: Tensor) -> Tensor:
    """Sum the outer products of (N, P, A) and (N, P, B) over all positions to (A, B)."""
    return a.flatten(0, 1).T @ b.flatten(0, 1)


def _scales_weights(x: Tensor) -> bool:
    """Return whether to scale W2 (N x 4C x C) rather than a (N x 4C x P): it pays with many positions."""
    return x.shape[1] > 2 * x.shape[2]
