"""Masked depthwise convolution as Triton kernels on packed visible tokens.

Neighbours follow from the patch structure: a map says where each patch of the grid is among the packed ones, so that
there is no hash and no list of index pairs, and nothing is computed or stored for removed positions. Sums are kept in
fp32 (float64 for float64). The weight gradient is deterministic: fixed chunks of rows, then a sum over the chunks.

On a CPU the kernels run under Triton's interpreter only: TRITON_INTERPRET=1, set before triton is imported, for tests.
"""

# ruff: noqa: ANN001, ANN202, RUF005 -- kernels: arguments that Triton types itself, and only + to join tuples

import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(
        "sparse_backend='triton' needs triton, which comes with CUDA builds of torch: `pip install triton`"
    ) from error

from ..layout import VisibleTokens

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
# Rows of patches and channels of a program, the sums of which fit into the registers of four warps. The interpreter
# takes a fraction of a second for any program.
CONV_BLOCK = (128, 64) if INTERPRETED else (16, 64)
# The same, and the chunks of rows at most: the order of the sums depends on them.
WEIGHT_GRADIENT_BLOCK = (128, 64, 256) if INTERPRETED else (16, 64, 256)


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, layout: VisibleTokens) -> Tensor:
    """See ``DepthwiseConv`` in this package. Kernels are square and odd; any number of channels."""
    kernel_size, width = weight.shape[2:]
    if kernel_size != width or kernel_size % 2 == 0:
        raise ValueError(f'kernels must be square and odd, got {kernel_size}x{width}')
    if x.device.type == 'cpu' and not INTERPRETED:
        raise RuntimeError(
            "sparse_backend='triton' needs tensors on a GPU, got one on the CPU; "
            "take 'auto' or 'torch' there (TRITON_INTERPRET=1 runs the kernels on a CPU, slowly, for tests)"
        )
    if torch.is_autocast_enabled(x.device.type):  # as F.conv2d does: everything but float64
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = (t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in (x, weight, bias))
    side = layout.side(x)
    ring = -(-(kernel_size // 2) // side)  # how many patches away the farthest neighbour is
    offsets, patch_map = layout.table(
        ('triton', ring, x.device), lambda: tuple(t.to(x.device, non_blocking=True) for t in neighbours(layout, ring))
    )
    # (k*k, C): the channels of a tap are contiguous.
    taps = weight.flatten(1).t().contiguous()
    return _conv(x.contiguous(), taps, bias, offsets, patch_map, side)


def neighbours(layout: VisibleTokens, ring: int) -> tuple[Tensor, Tensor]:
    """Where patches are on the grid and which patch is where, the grid of each sample within a ring of nothing.

    Returns:
        offsets: (N*K,) int32: index of each packed patch in ``patch_map.flatten()``.
        patch_map: (N, h + 2 ring, w + 2 ring) int32: index among the N*K packed patches, -1 if there is none.
    """
    packed = torch.full(layout.mask.shape, -1, dtype=torch.int32)
    packed[~layout.mask] = torch.arange(layout.patches.numel(), dtype=torch.int32)
    patch_map = F.pad(packed, (ring, ring, ring, ring), value=-1)
    offsets = (patch_map.flatten() >= 0).nonzero().flatten()
    return offsets.to(torch.int32), patch_map


# Custom operators, so that torch.compile takes each as one node.
@torch.library.custom_op('mmcnv2::masked_depthwise_conv', mutates_args=())
def _conv(x: Tensor, taps: Tensor, bias: Tensor | None, offsets: Tensor, patch_map: Tensor, side: int) -> Tensor:
    with torch.cuda.device_of(x):  # Triton launches on the current device
        return _launch_conv(x, taps, bias, offsets, patch_map, side)


@_conv.register_fake
def _(x: Tensor, taps: Tensor, bias: Tensor | None, offsets: Tensor, patch_map: Tensor, side: int) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op('mmcnv2::masked_depthwise_conv_backward', mutates_args=())
def _conv_backward(
    grad: Tensor, x: Tensor, taps: Tensor, offsets: Tensor, patch_map: Tensor, side: int
) -> tuple[Tensor, Tensor]:
    # What a token gives to its neighbours is what it gets from them through the kernel turned by 180 degrees.
    with torch.cuda.device_of(x):
        grad_x = _launch_conv(grad, taps.flip(0), None, offsets, patch_map, side)
        return grad_x, _launch_weight_gradient(grad, x, taps, offsets, patch_map, side)


@_conv_backward.register_fake
def _(grad: Tensor, x: Tensor, taps: Tensor, offsets: Tensor, patch_map: Tensor, side: int) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(taps)


def _setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, taps, bias, offsets, patch_map, ctx.side = inputs
    ctx.save_for_backward(x, taps, offsets, patch_map)
    ctx.bias_dtype = None if bias is None else bias.dtype


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, taps, offsets, patch_map = ctx.saved_tensors
    grad = grad.contiguous()
    grad_x, grad_taps = _conv_backward(grad, x, taps, offsets, patch_map, ctx.side)
    grad_bias = None
    if ctx.bias_dtype is not None:
        grad_bias = grad.sum(dim=(0, 1), dtype=_sum_dtype(grad)).to(ctx.bias_dtype)
    return grad_x, grad_taps, grad_bias, None, None, None


_conv.register_autograd(_backward, setup_context=_setup_context)


def _launch_conv(
    x: Tensor, taps: Tensor, bias: Tensor | None, offsets: Tensor, patch_map: Tensor, side: int
) -> Tensor:
    out = torch.empty_like(x)
    channels = x.shape[2]
    rows = x.numel() // (side * channels)
    kernel_size = _kernel_size(taps)
    block_rows, block_channels = CONV_BLOCK
    _conv_kernel[triton.cdiv(rows, block_rows), triton.cdiv(channels, block_channels)](
        *(x, taps, taps if bias is None else bias, out, offsets, patch_map),
        *(rows, patch_map.shape[2], channels),
        SIDE=side,
        RING=-(-(kernel_size // 2) // side),
        KERNEL=kernel_size,
        HAS_BIAS=bias is not None,
        SUM=_TL_DTYPES[_sum_dtype(x)],
        BLOCK_ROWS=block_rows,
        BLOCK_CHANNELS=block_channels,
    )
    return out


def _launch_weight_gradient(
    grad: Tensor, x: Tensor, taps: Tensor, offsets: Tensor, patch_map: Tensor, side: int
) -> Tensor:
    channels = x.shape[2]
    rows = x.numel() // (side * channels)
    kernel_size = _kernel_size(taps)
    block_rows, block_channels, max_chunks = WEIGHT_GRADIENT_BLOCK
    chunk = triton.cdiv(rows, block_rows * max_chunks) * block_rows
    chunks = triton.cdiv(rows, chunk)
    partial = x.new_empty(chunks, kernel_size**2, channels, dtype=_sum_dtype(x))
    _weight_gradient_kernel[kernel_size, chunks, triton.cdiv(channels, block_channels)](
        *(grad, x, partial, offsets, patch_map),
        *(rows, patch_map.shape[2], channels, chunk),
        SIDE=side,
        RING=-(-(kernel_size // 2) // side),
        KERNEL=kernel_size,
        SUM=_TL_DTYPES[_sum_dtype(x)],
        BLOCK_ROWS=block_rows,
        BLOCK_CHANNELS=block_channels,
    )
    return partial.sum(dim=0).to(taps.dtype)


_TL_DTYPES = {torch.float32: tl.float32, torch.float64: tl.float64}


def _sum_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _kernel_size(taps: Tensor) -> int:
    return round(taps.shape[0] ** 0.5)


@triton.jit
def _add_to(sums, index: tl.constexpr, term):
    return sums[:index] + (sums[index] + term,) + sums[index + 1 :]


# A program has a few rows of patches, SIDE tokens each. The tokens that a row of the kernel sees from there are in
# whole rows of patches, too: each is loaded once and used for all SIDE outputs. A neighbour's row is counted from the
# top of the ring, so that it is never negative and // and % round as they should.
@triton.jit
def _conv_kernel(
    x,
    taps,
    bias,
    out,
    offsets,
    patch_map,
    rows,
    map_width,
    channels,
    SIDE: tl.constexpr,
    RING: tl.constexpr,
    KERNEL: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    SUM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Compute some rows of patches, some channels of the output."""
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    channel = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    in_rows = row < rows
    in_range = channel < channels
    offset = tl.load(offsets + row // SIDE, mask=in_rows, other=0)
    first = tl.zeros((BLOCK_ROWS, BLOCK_CHANNELS), dtype=SUM)
    if HAS_BIAS:
        first += tl.load(bias + channel, mask=in_range, other=0).to(SUM)[None, :]
    sums = ()
    for _ in tl.static_range(SIDE):
        sums = sums + (first,)
    for i in range(KERNEL):
        y = row % SIDE + i + (RING * SIDE - KERNEL // 2)
        patches = patch_map + offset + (y // SIDE - RING) * map_width
        weights = ()
        for j in tl.static_range(KERNEL):
            weight = tl.load(taps + (i * KERNEL + j) * channels + channel, mask=in_range, other=0)
            weights = weights + (weight.to(SUM)[None, :],)
        for p in tl.static_range(2 * RING + 1):
            patch = tl.load(patches + (p - RING), mask=in_rows, other=-1)
            source = ((patch * SIDE + y % SIDE).to(tl.int64) * (SIDE * channels))[:, None] + channel[None, :]
            seen = (patch >= 0)[:, None] & in_range[None, :]
            for q in tl.static_range((p - RING) * SIDE, (p - RING + 1) * SIDE):
                if q >= -(KERNEL // 2) and q < SIDE + KERNEL // 2:
                    value = tl.load(x + source + (q - (p - RING) * SIDE) * channels, mask=seen, other=0).to(SUM)
                    for c in tl.static_range(SIDE):
                        if q - c >= -(KERNEL // 2) and q - c <= KERNEL // 2:
                            sums = _add_to(sums, c, value * weights[q - c + KERNEL // 2])
    target = out + (row.to(tl.int64) * (SIDE * channels))[:, None] + channel[None, :]
    for c in tl.static_range(SIDE):
        tl.store(target + c * channels, sums[c].to(out.dtype.element_ty), mask=in_rows[:, None] & in_range[None, :])


@triton.jit
def _weight_gradient_kernel(
    grad,
    x,
    partial,
    offsets,
    patch_map,
    rows,
    map_width,
    channels,
    chunk,
    SIDE: tl.constexpr,
    RING: tl.constexpr,
    KERNEL: tl.constexpr,
    SUM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Compute a row of the kernel for a chunk of rows of patches."""
    i = tl.program_id(0)
    start = tl.program_id(1) * chunk
    channel = tl.program_id(2) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    in_range = channel < channels
    sums = ()
    for _ in tl.static_range(KERNEL):
        sums = sums + (tl.zeros((BLOCK_ROWS, BLOCK_CHANNELS), dtype=SUM),)
    for first in range(start, start + chunk, BLOCK_ROWS):
        row = first + tl.arange(0, BLOCK_ROWS)
        in_rows = row < rows
        offset = tl.load(offsets + row // SIDE, mask=in_rows, other=0)
        y = row % SIDE + i + (RING * SIDE - KERNEL // 2)
        patches = patch_map + offset + (y // SIDE - RING) * map_width
        target = grad + (row.to(tl.int64) * (SIDE * channels))[:, None] + channel[None, :]
        given = ()
        for c in tl.static_range(SIDE):
            value = tl.load(target + c * channels, mask=in_rows[:, None] & in_range[None, :], other=0)
            given = given + (value.to(SUM),)
        for p in tl.static_range(2 * RING + 1):
            patch = tl.load(patches + (p - RING), mask=in_rows, other=-1)
            source = ((patch * SIDE + y % SIDE).to(tl.int64) * (SIDE * channels))[:, None] + channel[None, :]
            seen = (patch >= 0)[:, None] & in_range[None, :]
            for q in tl.static_range((p - RING) * SIDE, (p - RING + 1) * SIDE):
                if q >= -(KERNEL // 2) and q < SIDE + KERNEL // 2:
                    value = tl.load(x + source + (q - (p - RING) * SIDE) * channels, mask=seen, other=0).to(SUM)
                    for c in tl.static_range(SIDE):
                        if q - c >= -(KERNEL // 2) and q - c <= KERNEL // 2:
                            sums = _add_to(sums, q - c + KERNEL // 2, value * given[c])
    tap = tl.program_id(1) * (KERNEL * KERNEL) + i * KERNEL
    for j in tl.static_range(KERNEL):
        tl.store(partial + (tap + j) * channels + channel, tl.sum(sums[j], axis=0), mask=in_range)
