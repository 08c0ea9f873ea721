from .backbones import ConvNeXtV2
from .pretraining import FCMAE
from .weights import PretrainedConvNeXtV2

__all__ = ['FCMAE', 'ConvNeXtV2', 'PretrainedConvNeXtV2']
