# RTMDet-Ins for two CPU cores: atto and narrow heads.
_base_ = 'rtmdet-ins_convnextv2.py'

width = 64
norm_cfg = dict(type='GN', num_groups=8)
model = dict(
    backbone=dict(arch='atto'),
    neck=dict(in_channels=[80, 160, 320], out_channels=width, num_csp_blocks=1, norm_cfg=norm_cfg),
    bbox_head=dict(in_channels=width, feat_channels=width, norm_cfg=norm_cfg),
)
