"""Masked depthwise convolution in plain torch: scatter to the grid, convolve, gather.

Runs wherever torch runs. Only the convolution sees the full grid, and no removed position is kept for backward
longer than the convolution itself needs it.
"""

from torch import Tensor

from ...layers import depthwise_conv2d
from ..layout import VisibleTokens


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, layout: VisibleTokens) -> Tensor:
    """See ``DepthwiseConv`` in this package."""
    grid = layout.scatter(x).permute(0, 3, 1, 2)  # NCHW, channels-last in memory
    grid = depthwise_conv2d(grid, weight, bias)
    return layout.gather(grid.permute(0, 2, 3, 1))
