# Cascade Mask R-CNN for two CPU cores: the three box heads with the sizes of mask-rcnn_convnextv2-atto_fpn-small.py.
_base_ = 'cascade-mask-rcnn_convnextv2_fpn.py'

width = 64
norm_cfg = dict(type='GN', num_groups=8)
model = dict(
    backbone=dict(arch='atto'),
    neck=dict(in_channels=[40, 80, 160, 320], out_channels=width, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=width, feat_channels=width, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width),
        bbox_head=[dict(head, in_channels=width, fc_out_channels=256) for head in _base_.model.roi_head.bbox_head],
        mask_roi_extractor=dict(out_channels=width),
        mask_head=dict(in_channels=width, conv_out_channels=width, num_convs=2, norm_cfg=norm_cfg),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        # More than Mask R-CNN's 100: mmdet trains no anchor that crosses the border, on small images most of the
        # largest; their scores stay high, and they would leave no place for small objects.
        rpn_proposal=dict(nms_pre=500, max_per_img=500),
        # As many regions as the check of Mask R-CNN has.
        rcnn=[dict(stage, sampler=dict(stage.sampler, num=128)) for stage in _base_.model.train_cfg.rcnn],
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=500)),
)
