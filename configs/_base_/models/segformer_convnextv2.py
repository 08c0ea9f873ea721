# SegFormer's head as mmseg's recipes set it: a 1x1 convolution for each of the four maps, and one over all of them.
# Preprocessor and backbone are UperNet's. A config sets arch, in_channels, num_classes and init_cfg.
_base_ = 'upernet_convnextv2.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='SegformerHead',
        in_channels=[128, 256, 512, 1024],
        in_index=[0, 1, 2, 3],
        channels=256,  # mmseg's for all sizes; the official code widens the head of B2 to B5 to 768
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
