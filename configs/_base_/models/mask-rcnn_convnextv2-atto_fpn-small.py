# Mask R-CNN for two CPU cores: atto, and heads about a tenth of mmdet's. Only the width differs from the full model.
_base_ = 'mask-rcnn_convnextv2_fpn.py'

width = 64
model = dict(
    backbone=dict(arch='atto'),
    neck=dict(in_channels=[40, 80, 160, 320], out_channels=width),
    rpn_head=dict(
        in_channels=width,
        feat_channels=width,
        # Objects are small: squares of 16 pixels on the finest map, instead of 32.
        anchor_generator=dict(scales=[4]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width),
        bbox_head=dict(in_channels=width, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=width),
        mask_head=dict(in_channels=width, conv_out_channels=width, num_convs=2),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)
