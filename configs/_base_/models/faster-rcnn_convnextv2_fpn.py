# mmdet's Faster R-CNN with our backbone; a config sets arch, neck.in_channels and init_cfg.
_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'
default_scope = 'mmdet'

model = dict(
    backbone=dict(_delete_=True, type='mmcnv2.ConvNeXtV2', arch='base'),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
