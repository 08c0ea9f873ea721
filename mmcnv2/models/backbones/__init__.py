from .convnext import ConvNeXt, ConvNeXtBlock
from .convnextv2 import ARCHITECTURES, ConvNeXtV2, ConvNeXtV2Block
from .skeleton import Block, ConvNeXtBase

__all__ = ['ARCHITECTURES', 'Block', 'ConvNeXt', 'ConvNeXtBase', 'ConvNeXtBlock', 'ConvNeXtV2', 'ConvNeXtV2Block']
