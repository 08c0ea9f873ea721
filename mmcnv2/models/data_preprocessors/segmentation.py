from mmseg import models

from mmcnv2.registry import MODELS

from .any_bands import AnyBands


@MODELS.register_module()
class SegDataPreProcessor(AnyBands, models.SegDataPreProcessor):
    """mmseg's ``SegDataPreProcessor`` with ``mean`` and ``std`` of any length, see :class:`AnyBands`."""
