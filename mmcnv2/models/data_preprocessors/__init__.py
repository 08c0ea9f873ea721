"""The libraries' data preprocessors for any number of bands. Those of mmseg and mmdet are imported by the registry."""

from .pretraining import ImgDataPreprocessor

__all__ = ['ImgDataPreprocessor']
