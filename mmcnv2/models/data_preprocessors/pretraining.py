from mmengine import model

from mmcnv2.registry import MODELS

from .any_bands import AnyBands


@MODELS.register_module()
class ImgDataPreprocessor(AnyBands, model.ImgDataPreprocessor):
    """MMEngine's ``ImgDataPreprocessor`` with ``mean`` and ``std`` of any length, see :class:`AnyBands`."""
