# RetinaNet for two CPU cores: atto, and narrow heads with GroupNorm, as the small Mask R-CNN.
_base_ = 'retinanet_convnextv2_fpn.py'

width = 64
norm_cfg = dict(type='GN', num_groups=8)
model = dict(
    backbone=dict(arch='atto'),
    neck=dict(in_channels=[80, 160, 320], out_channels=width, norm_cfg=norm_cfg),
    bbox_head=dict(
        in_channels=width,
        feat_channels=width,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        # Objects are small: squares of 16 pixels on the finest map, instead of 32.
        anchor_generator=dict(octave_base_scale=2),
    ),
)
