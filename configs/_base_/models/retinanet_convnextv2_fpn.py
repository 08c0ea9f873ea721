# mmdet's RetinaNet with our backbone; a config sets arch, neck.in_channels and init_cfg.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'
default_scope = 'mmdet'

model = dict(
    # Without the map of stride 4, which the FPN would leave aside (start_level=1): its norm would get no gradient.
    backbone=dict(_delete_=True, type='mmcnv2.ConvNeXtV2', arch='base', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[256, 512, 1024], start_level=0),
)
