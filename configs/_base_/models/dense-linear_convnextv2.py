# What a frozen backbone knows at every position: its four maps, enlarged to stride 4, then one 1x1 convolution, which
# is all that is trained. The output norms stay as they are, so that the four maps have the same scale.
_base_ = 'upernet_convnextv2.py'

model = dict(
    backbone=dict(frozen_stages=4),
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=[128, 256, 512, 1024],
        in_index=[0, 1, 2, 3],
        input_transform='resize_concat',
        channels=1920,  # the sum of in_channels: without a convolution before the last, FCNHead wants it so
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
