from .convnextv2 import ARCHITECTURES, Block, ConvNeXtV2

__all__ = ['ARCHITECTURES', 'Block', 'ConvNeXtV2']
