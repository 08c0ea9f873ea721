from mmdet.models import data_preprocessors

from mmcnv2.registry import MODELS

from .any_bands import AnyBands


@MODELS.register_module()
class DetDataPreprocessor(AnyBands, data_preprocessors.DetDataPreprocessor):
    """mmdet's ``DetDataPreprocessor`` with ``mean`` and ``std`` of any length, see :class:`AnyBands`."""
