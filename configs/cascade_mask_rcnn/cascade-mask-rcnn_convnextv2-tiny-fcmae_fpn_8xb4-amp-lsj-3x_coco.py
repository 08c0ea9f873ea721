# Cascade Mask R-CNN from FCMAE weights, tiny. The paper has no figure for it.
_base_ = 'cascade-mask-rcnn_convnextv2-base-fcmae_fpn_8xb4-amp-lsj-3x_coco.py'

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnextv2-tiny_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)

optim_wrapper = dict(paramwise_cfg=dict(decay_type='single'))
