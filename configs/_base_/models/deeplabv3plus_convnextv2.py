# DeepLabV3+ as mmseg's recipes set it, but for the strides: its pyramid of dilated convolutions sees the last map at
# stride 32, its decoder adds the first at stride 4. mmseg dilates ResNet to stride 8. ConvNeXt cannot be dilated: its
# downsampling is a 2x2 convolution of stride 2, and with stride 1 the pre-trained weights would mean something else.
# Preprocessor and backbone are UperNet's. A config sets arch, the channels of the maps, num_classes and init_cfg.
_base_ = 'upernet_convnextv2.py'

model = dict(
    # Not the map at stride 8: nothing takes it, and a norm without gradients would stop distributed training.
    backbone=dict(out_indices=(0, 2, 3)),
    decode_head=dict(
        _delete_=True,
        type='DepthwiseSeparableASPPHead',
        in_channels=1024,
        in_index=2,  # of these three; the decoder takes the first
        channels=512,
        # DeepLabV3 (arXiv 1706.05587) has 6, 12, 18 at stride 16 and twice that at stride 8. At stride 32 half, as far
        # apart in the image: 3, 6, 9 * 32 = 12, 24, 36 * 8 = 96, 192, 288 pixels.
        dilations=(1, 3, 6, 9),
        c1_in_channels=128,
        c1_channels=48,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    # UperNet's: an FCN on the map at stride 16, weight 0.4.
    auxiliary_head=dict(in_index=1),
)
