# Mask R-CNN from FCMAE weights, huge. Paper: 55.7 box AP, 48.9 mask AP (table 6).
_base_ = 'mask-rcnn_convnextv2-base-fcmae_fpn_8xb4-amp-lsj-3x_coco.py'

model = dict(
    backbone=dict(
        arch='huge',
        drop_path_rate=0.5,
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnextv2-huge_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth'),
    ),
    neck=dict(in_channels=[352, 704, 1408, 2816]),
)
