from .backbones import ConvNeXtV2
from .pretraining import FCMAE
from .weights.pretrained import PretrainedConvNeXtV2

__all__ = ['FCMAE', 'ConvNeXtV2', 'PretrainedConvNeXtV2']
