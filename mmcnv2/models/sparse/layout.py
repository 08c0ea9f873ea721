"""Where the tokens of a stage sit. The network is written once against this interface.

A layout is made once per mask and passed explicitly. It owns the four operations that depend on where tokens are:
``pack`` (images to tokens), ``patch_conv``, ``depthwise_conv`` and ``unpack`` (tokens to a map). All else in the
network works on one position at a time, on tensors (N, ..., C) with the channels last.

============== ======================= ============================================
layout         tokens of a stage       used for
============== ======================= ============================================
FullGrid       (N, H, W, C)            no mask
MaskedGrid     (N, H, W, C)            ``sparse_backend='dense'``, the reference
VisibleTokens  (N, K*s*s, C)           every other backend; K visible patches of s x s
============== ======================= ============================================
"""

from collections.abc import Callable, Hashable
from math import isqrt
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import depthwise_conv2d, is_plain
from .mask import patch_indices

T = TypeVar('T')


class Layout(Protocol):
    """What the network asks of a layout."""

    def pack(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to the tokens of stride 1, one per pixel."""

    def patch_conv(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        """Convolution whose stride is its kernel size, so that it never crosses a patch border."""

    def depthwise_conv(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        """Depthwise convolution, stride 1, that sees zeros at removed positions."""

    def removed(self, x: Tensor) -> Tensor | None:
        """(N, ..., 1) bool: which positions of ``x`` (N, ..., C) are removed; None if the layout holds no such."""

    def unpack(self, x: Tensor) -> Tensor:
        """Tokens to the map (N, C, H, W), channels-last in memory, zeros at removed positions."""


class FullGrid:
    """All positions of an unmasked map."""

    def pack(self, images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1)

    def patch_conv(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def depthwise_conv(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        out = depthwise_conv2d(x, conv.weight, conv.bias) if is_plain(conv, nn.Conv2d) else conv(x)
        return out.permute(0, 2, 3, 1)

    def removed(self, x: Tensor) -> Tensor | None:
        return None

    def unpack(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


class MaskedGrid(FullGrid):
    """All positions, removed ones set to zero before they could be seen: the formulation of the paper's JAX runs."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self._masks: dict[int, Tensor] = {}

    def pack(self, images: Tensor) -> Tensor:
        return self._keep_visible(super().pack(images))

    def depthwise_conv(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        return super().depthwise_conv(self._keep_visible(x), conv)

    def removed(self, x: Tensor) -> Tensor:
        side = x.shape[1] // self.mask.shape[1]
        if side not in self._masks:
            mask = self.mask.to(x.device)
            mask = mask.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2)
            self._masks[side] = mask.unsqueeze(-1)
        return self._masks[side]

    def unpack(self, x: Tensor) -> Tensor:
        return super().unpack(self._keep_visible(x))

    def _keep_visible(self, x: Tensor) -> Tensor:
        return x.masked_fill(self.removed(x), 0)


class DepthwiseConv(Protocol):
    """Depthwise convolution, stride 1, 'same' padding, that sees zeros at removed positions."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None, layout: 'VisibleTokens') -> Tensor:
        """``x`` (N, K*s*s, C), ``weight`` (C, 1, k, k), ``bias`` (C,) to (N, K*s*s, C)."""


class VisibleTokens:
    """Visible tokens only, (N, K*s*s, C): patch after patch, row-major within a patch of s x s tokens.

    Args:
        mask: (N, h, w) bool, True = removed, the same number K of visible patches in every sample.
        depthwise_conv: Masked depthwise convolution of a backend.
    """

    def __init__(self, mask: Tensor, depthwise_conv: DepthwiseConv) -> None:
        # Index arithmetic on the CPU: with a CPU mask nothing waits for the device.
        self.mask = mask.cpu()
        self.patches = patch_indices(~self.mask)  # (N, K)
        self._depthwise_conv = depthwise_conv
        self._tables: dict[Hashable, Any] = {}

    def pack(self, images: Tensor) -> Tensor:
        return self.gather(images.permute(0, 2, 3, 1))

    def patch_conv(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        if not is_plain(conv, nn.Conv2d):
            return self._call_on_grid(x, conv)
        side, stride = self.side(x), conv.stride[0]
        x = x.unflatten(1, (-1, stride, side // stride, stride)).transpose(2, 3)
        # (N, K * s/stride, s/stride, stride, stride, C_in): the window of each new token is contiguous.
        x = x.flatten(3).flatten(1, 2)
        return F.linear(x, conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias)

    def depthwise_conv(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        if not is_plain(conv, nn.Conv2d):
            return self._call_on_grid(x, conv)
        return self._depthwise_conv(x, conv.weight, conv.bias, self)

    def _call_on_grid(self, x: Tensor, conv: nn.Module) -> Tensor:
        """A layer that was changed, called as it is: on the map, with zeros at removed positions."""
        grid = self.scatter(x).permute(0, 3, 1, 2)
        return self.gather(conv(grid).permute(0, 2, 3, 1))

    def removed(self, x: Tensor) -> Tensor | None:
        return None

    def unpack(self, x: Tensor) -> Tensor:
        return self.scatter(x).permute(0, 3, 1, 2)

    def side(self, x: Tensor) -> int:
        """s, the number of tokens along a patch at the stage of ``x`` (N, K*s*s, C)."""
        return isqrt(x.shape[1] // self.patches.shape[1])

    def rows(self, side: int, device: torch.device) -> Tensor:
        """Where each row of s tokens of each visible patch sits in a map cut into such rows.

        Returns:
            (N*K*s,) int64, values in [0, N*h*s*w): indices into a map (N, h*s, w*s, C) viewed as (N*h*s*w, s*C).
        """

        def make() -> Tensor:
            n, h, w = self.mask.shape
            patch_row = torch.arange(n).view(n, 1) * h + self.patches // w  # (N, K)
            token_row = patch_row.unsqueeze(-1) * side + torch.arange(side)  # (N, K, s)
            rows = token_row * w + (self.patches % w).unsqueeze(-1)
            return rows.flatten().to(device, non_blocking=True)

        return self.table(('rows', side, device), make)

    def table(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` returns for this mask; made at the first call with ``key`` and kept.

        Backends keep their index tables here: ``key`` starts with the backend's name and holds all that ``make``
        depends on besides the mask, e.g. the number of tokens along a patch and the device.
        """
        if key not in self._tables:
            self._tables[key] = make()
        return self._tables[key]

    def gather(self, grid: Tensor) -> Tensor:
        """(N, h*s, w*s, C) to (N, K*s*s, C)."""
        n, height, _, channels = grid.shape
        side = height // self.mask.shape[1]
        rows = self.rows(side, grid.device)
        return _GatherRows.apply(grid.reshape(-1, side * channels), rows).view(n, -1, channels)

    def scatter(self, x: Tensor) -> Tensor:
        """(N, K*s*s, C) to (N, h*s, w*s, C), zeros at removed positions."""
        n, h, w = self.mask.shape
        side, channels = self.side(x), x.shape[2]
        rows = self.rows(side, x.device)
        grid = _ScatterRows.apply(x.reshape(-1, side * channels), rows, n * h * side * w)
        return grid.view(n, h * side, w * side, channels)


# The rows of a layout are distinct, so gather and scatter are each other's gradient. Autograd does not know, and
# would accumulate the gradient of a gather row by row.
class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grid: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.num_rows = grid.shape[0]
        return grid.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return _ScatterRows.apply(grad, rows, ctx.num_rows), None


class _ScatterRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, rows: Tensor, num_rows: int) -> Tensor:
        ctx.save_for_backward(rows)
        return tokens.new_zeros(num_rows, tokens.shape[1]).index_copy_(0, rows, tokens)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        return _GatherRows.apply(grad, rows), None, None
