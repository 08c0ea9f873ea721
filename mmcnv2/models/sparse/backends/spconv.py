"""Masked depthwise convolution on the index pairs of spconv: one gather, product and addition for each kernel tap.

spconv (https://github.com/traveller59/spconv) has no depthwise convolution, its groups are always 1. It does say which
visible tokens each tap of a kernel connects; the arithmetic is done here, in plain torch, on visible tokens only.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

try:
    from spconv.cppconstants import CPU_ONLY_BUILD
    from spconv.pytorch.ops import ConvAlgo, get_indice_pairs
except ImportError as error:
    raise ImportError(
        "sparse_backend='spconv' needs spconv: `pip install spconv` on a CPU, "
        '`pip install spconv-cu120` (or the build for your CUDA) on a GPU'
    ) from error

from ..layout import VisibleTokens


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, layout: VisibleTokens) -> Tensor:
    """See ``DepthwiseConv`` in this package. ``kernel_size`` must be odd, and the same in both directions."""
    height, width = weight.shape[2:]
    if height != width or height % 2 == 0:
        raise ValueError(f'kernels must be square and odd, got {height}x{width}')
    if torch.is_autocast_enabled(x.device.type):  # as F.conv2d does: everything but float64
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = (t if t.dtype == torch.float64 else t.to(dtype) for t in (x, weight))
        bias = bias if bias is None or bias.dtype == torch.float64 else bias.to(dtype)
    side = layout.side(x)
    pairs, counts = layout.table(
        ('spconv', side, height, x.device), lambda: index_pairs(layout, side, height, x.device)
    )
    return _DepthwiseConv.apply(x.flatten(0, 1), weight, bias, pairs, counts).view_as(x)


def index_pairs(
    layout: VisibleTokens, side: int, kernel_size: int, device: torch.device
) -> tuple[Tensor, tuple[int, ...]]:
    """Which tokens see each other through taps 0 to k*k//2, the centre, at the stage of s x s tokens a patch.

    Tap t = row * k + column of the kernel connects token ``pairs[0]`` of the input with token ``pairs[1]`` of the
    output, where input = output + (row - k//2, column - k//2), as in F.conv2d. Tap k*k-1-t looks in the opposite
    direction: it has the pairs of tap t, the two exchanged.

    Returns:
        (2, P) int64, indices into the N*K*s*s tokens, tap after tap, and the number of pairs of each tap, sum P.
    """
    if device.type == 'cuda' and CPU_ONLY_BUILD:
        raise RuntimeError(
            'this spconv is built for the CPU only: `pip uninstall spconv cumm`, '
            'then `pip install spconv-cu120` (or the build for your CUDA)'
        )
    n, h, w = layout.mask.shape
    axes = [torch.arange(size, dtype=torch.int32, device=device) for size in (n, h * side, w * side)]
    grid = torch.cartesian_prod(*axes).view(n, h * side, w * side, 3)
    # spconv reads memory without looking at strides, and launches on the current device.
    indices = layout.gather(grid).flatten(0, 1).contiguous()  # (N*K*s*s, 3): sample, row, column
    # Kernel, stride, padding, dilation, output padding; and then submanifold: the output has the input's tokens.
    arguments = [kernel_size] * 2, [1] * 2, [kernel_size // 2] * 2, [1] * 2, [0] * 2, True
    with torch.cuda.device_of(indices):
        _, pairs, counts = get_indice_pairs(indices, n, [h * side, w * side], ConvAlgo.Native, *arguments)
    # spconv gives pairs (2, k*k, N*K*s*s), filled up with -1, and counts them for the taps before the centre only. At
    # the centre every token sees itself. Its CUDA kernel finds the pairs of a tap in a different order every time:
    # sorted, the sums of a backward are the same every time.
    centre = kernel_size**2 // 2
    source, order = pairs[0, : centre + 1].sort(dim=1)
    target = pairs[1, : centre + 1].gather(1, order)
    is_pair = source >= 0
    # int64, since index_add_ on a CPU is three times slower with int32.
    return torch.stack([source[is_pair], target[is_pair]]).long(), (*counts[:centre].tolist(), len(indices))


class _DepthwiseConv(torch.autograd.Function):
    """``x`` (M, C), ``weight`` (C, 1, k, k), ``bias`` (C,) or None to (M, C), with the index pairs of the M tokens.

    Sums are kept in fp32, of float64 in float64. No temporary is larger than ``x`` in that precision: one tap at a
    time. Within a tap no token occurs twice, so that ``index_add_`` adds in the order of the taps, always the same.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, pairs: Tensor, counts: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight, pairs)
        ctx.counts = counts
        dtype = torch.promote_types(x.dtype, torch.float32)
        taps = weight.flatten(1).t().to(dtype).contiguous()  # (k*k, C)
        out = torch.zeros(x.shape, dtype=dtype, device=x.device)
        if bias is not None:
            out += bias
        for tap, source, target in _taps(pairs, counts):
            out.index_add_(0, target, x.index_select(0, source) * taps[tap])
        return out.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, pairs = ctx.saved_tensors
        dtype = torch.promote_types(x.dtype, torch.float32)
        taps = weight.flatten(1).t().to(dtype).contiguous()
        grad_x = torch.zeros(x.shape, dtype=dtype, device=x.device) if ctx.needs_input_grad[0] else None
        grad_taps = torch.empty_like(taps) if ctx.needs_input_grad[1] else None
        for tap, source, target in _taps(pairs, ctx.counts):
            seen = grad.index_select(0, target).to(dtype)
            if grad_taps is not None:
                grad_taps[tap] = (x.index_select(0, source) * seen).sum(0)
            if grad_x is not None:
                grad_x.index_add_(0, source, seen.mul_(taps[tap]))
        return (
            None if grad_x is None else grad_x.to(x.dtype),
            None if grad_taps is None else grad_taps.t().to(weight.dtype).reshape(weight.shape),
            grad.sum(0, dtype=dtype).to(weight.dtype) if ctx.needs_input_grad[2] else None,
            None,
            None,
        )


def _taps(pairs: Tensor, counts: tuple[int, ...]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Every tap of the kernel, with its tokens of the input and of the output."""
    centre = len(counts) - 1
    for tap, (source, target) in enumerate(pairs.split(counts, dim=1)):
        yield tap, source, target
        if tap != centre:
            yield 2 * centre - tap, target, source
