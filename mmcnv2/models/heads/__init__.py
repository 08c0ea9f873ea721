"""Heads that need mmpretrain; only the configs in configs/imagenet/ import them (``custom_imports``)."""

from .cls_head import ConvNeXtV2ClsHead

__all__ = ['ConvNeXtV2ClsHead']
