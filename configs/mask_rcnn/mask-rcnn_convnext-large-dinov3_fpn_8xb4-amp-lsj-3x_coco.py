# Mask R-CNN from the weights of DINOv3, large. Their licence: see the config of base.
_base_ = 'mask-rcnn_convnext-base-dinov3_fpn_8xb4-amp-lsj-3x_coco.py'

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint='timm://convnext_large.dinov3_lvd1689m'),
    ),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
