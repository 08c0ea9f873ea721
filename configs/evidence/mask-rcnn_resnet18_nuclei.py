# ResNet-18 from random weights: what one would take instead. GroupNorm, since a batch has two images.
_base_ = 'mask-rcnn_convnextv2-atto_nuclei.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, norm_cfg=dict(type='GN', num_groups=32)),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
