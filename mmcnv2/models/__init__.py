from .backbones import ConvNeXt, ConvNeXtV2
from .data_preprocessors import ImgDataPreprocessor
from .pretraining import FCMAE
from .weights.pretrained import PretrainedConvNeXtV2

__all__ = ['FCMAE', 'ConvNeXt', 'ConvNeXtV2', 'ImgDataPreprocessor', 'PretrainedConvNeXtV2']
