"""Heads that need mmpretrain: imported by the configs of configs/finetune/ only (``custom_imports``)."""

from mmcnv2.utils.torchvision import make_torchvision_importable

make_torchvision_importable()  # mmpretrain imports it

from .cls_head import ConvNeXtV2ClsHead  # noqa: E402

__all__ = ['ConvNeXtV2ClsHead']
