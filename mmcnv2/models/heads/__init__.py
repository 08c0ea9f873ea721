"""Heads that need mmpretrain: imported by the configs of configs/imagenet/ only (``custom_imports``)."""

from .cls_head import ConvNeXtV2ClsHead

__all__ = ['ConvNeXtV2ClsHead']
