from .backbones import ConvNeXt, ConvNeXtV2
from .data_preprocessors import ImgDataPreprocessor
from .pretraining import FCMAE
from .weights.pretrained import PretrainedConvNeXt, PretrainedConvNeXtV2, PretrainedFCMAE

__all__ = [
    'FCMAE',
    'ConvNeXt',
    'ConvNeXtV2',
    'ImgDataPreprocessor',
    'PretrainedConvNeXt',
    'PretrainedConvNeXtV2',
    'PretrainedFCMAE',
]
