"""ConvNeXt V2 (arXiv 2301.00808): its block and its sizes. All else is in ``skeleton.py``."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmcnv2.registry import MODELS

from ..layers import GRN, grn_mlp, is_plain
from .skeleton import Block, ConvNeXtBase

#: Blocks and channels of the four stages, as the official repository defines the eight sizes.
ARCHITECTURES: dict[str, dict[str, tuple[int, ...]]] = {
    'atto': dict(depths=(2, 2, 6, 2), channels=(40, 80, 160, 320)),
    'femto': dict(depths=(2, 2, 6, 2), channels=(48, 96, 192, 384)),
    'pico': dict(depths=(2, 2, 6, 2), channels=(64, 128, 256, 512)),
    'nano': dict(depths=(2, 2, 8, 2), channels=(80, 160, 320, 640)),
    'tiny': dict(depths=(3, 3, 9, 3), channels=(96, 192, 384, 768)),
    'base': dict(depths=(3, 3, 27, 3), channels=(128, 256, 512, 1024)),
    'large': dict(depths=(3, 3, 27, 3), channels=(192, 384, 768, 1536)),
    'huge': dict(depths=(3, 3, 27, 3), channels=(352, 704, 1408, 2816)),
}


class ConvNeXtV2Block(Block):
    """ConvNeXt V2 block (paper, section 4): depthwise 7x7, LayerNorm, linear to 4C, GELU, GRN, linear to C, residual.

    See ``Block``.
    """

    def __init__(self, channels: int, drop_path: float = 0.0) -> None:
        super().__init__(channels, drop_path)
        self.grn = GRN(4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def mlp(self, x: Tensor, removed: Tensor | None) -> Tensor:
        linears_are_plain = is_plain(self.pwconv1, nn.Linear) and is_plain(self.pwconv2, nn.Linear)
        if linears_are_plain and is_plain(self.grn, GRN):
            return grn_mlp(x, self.pwconv1, self.grn, self.pwconv2, removed)
        x = F.gelu(self.pwconv1(x))
        if removed is not None:
            x = x.masked_fill(removed, 0)
        return self.pwconv2(self.grn(x))


@MODELS.register_module()
class ConvNeXtV2(ConvNeXtBase):
    """ConvNeXt V2 backbone. Arguments and errors: see ``ConvNeXtBase``; GRN starts as the identity."""

    architectures = ARCHITECTURES
    block = ConvNeXtV2Block
