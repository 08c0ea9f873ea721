# Mask R-CNN from the weights of DINOv3, tiny. Their licence: see the config of base.
_base_ = 'mask-rcnn_convnext-base-dinov3_fpn_8xb4-amp-lsj-3x_coco.py'

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='timm://convnext_tiny.dinov3_lvd1689m'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
