"""Masked depthwise convolution in plain torch: scatter to the grid, convolve, gather.

Runs wherever torch runs. Only the convolution sees the full grid, and no removed position is kept for backward
longer than the convolution itself needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from ..layout import VisibleTokens


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, layout: VisibleTokens) -> Tensor:
    """See ``DepthwiseConv`` in this package."""
    channels, _, kernel_size, _ = weight.shape
    grid = layout.scatter(x).permute(0, 3, 1, 2)  # NCHW, channels-last in memory
    grid = F.conv2d(grid, weight, bias, padding=kernel_size // 2, groups=channels)
    return layout.gather(grid.permute(0, 2, 3, 1))
