# Semantic FPN as mmseg's recipes set it. Preprocessor and backbone are UperNet's. A config sets arch, the neck's
# in_channels, num_classes and init_cfg.
_base_ = 'upernet_convnextv2.py'

model = dict(
    neck=dict(type='FPN', in_channels=[128, 256, 512, 1024], out_channels=256, num_outs=4),
    decode_head=dict(
        _delete_=True,
        type='FPNHead',
        in_channels=[256, 256, 256, 256],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
