"""ConvNeXt (arXiv 2201.03545), the first version: layer scale instead of GRN. Dense and masked, as ConvNeXt V2."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcnv2.registry import MODELS

from ..layers import is_plain, layer_scale_mlp
from . import convnextv2
from .skeleton import Block, ConvNeXtBase

#: Blocks and channels of the four stages: the sizes of the paper, and those that ConvNeXt V2 added.
ARCHITECTURES: dict[str, dict[str, tuple[int, ...]]] = {
    **convnextv2.ARCHITECTURES,
    'small': dict(depths=(3, 3, 27, 3), channels=(96, 192, 384, 768)),
    'xlarge': dict(depths=(3, 3, 27, 3), channels=(256, 512, 1024, 2048)),
}

LAYER_SCALE = 1e-6  # initial value (official code)


class ConvNeXtBlock(Block):
    """ConvNeXt block: depthwise 7x7, LayerNorm, linear to 4C, GELU, linear to C, layer scale ``gamma``, residual.

    See ``Block``.
    """

    def __init__(self, channels: int, drop_path: float = 0.0) -> None:
        super().__init__(channels, drop_path)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), LAYER_SCALE))

    def mlp(self, x: Tensor, removed: Tensor | None) -> Tensor:
        if is_plain(self.pwconv1, nn.Linear) and is_plain(self.pwconv2, nn.Linear):
            return layer_scale_mlp(x, self.pwconv1, self.pwconv2, self.gamma)
        x = self.pwconv2(F.gelu(self.pwconv1(x)))
        return x * self.gamma.to(x.dtype)


@MODELS.register_module()
class ConvNeXt(ConvNeXtBase):
    """ConvNeXt backbone of the first version. Arguments and errors: see ``ConvNeXtBase``."""

    architectures = ARCHITECTURES
    block = ConvNeXtBlock
