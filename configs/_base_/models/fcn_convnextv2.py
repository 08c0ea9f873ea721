# FCN on all four maps, enlarged to stride 4, as mmseg has it for HRNet, another backbone without dilation: a 1x1
# convolution, then the classifier. On the last map alone (mmseg's for ResNet, which it dilates to stride 8) the labels
# would have stride 32. Without the first convolution it is the dense linear probe (dense-linear_convnextv2.py).
# Preprocessor and backbone are UperNet's. A config sets arch, in_channels, num_classes and init_cfg.
_base_ = 'upernet_convnextv2.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=[128, 256, 512, 1024],
        in_index=[0, 1, 2, 3],
        input_transform='resize_concat',
        channels=512,  # as on ResNet; on HRNet it is the sum of in_channels
        kernel_size=1,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
