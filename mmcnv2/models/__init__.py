from .backbones import ConvNeXtV2
from .pretraining import FCMAE

__all__ = ['FCMAE', 'ConvNeXtV2']
