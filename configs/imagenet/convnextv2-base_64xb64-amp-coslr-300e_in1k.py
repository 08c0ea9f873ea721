# Supervised training of ConvNeXt V2 base on ImageNet-1k, from random weights, with the settings of V1. Paper: 84.3 %
# top-1 (table 3).
_base_ = 'convnext-base_64xb64-amp-coslr-300e_in1k.py'

model = dict(backbone=dict(type='mmcnv2.ConvNeXtV2'))
