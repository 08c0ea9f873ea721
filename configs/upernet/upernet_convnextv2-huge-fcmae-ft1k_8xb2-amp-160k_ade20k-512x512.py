# UperNet from FCMAE weights fine-tuned on ImageNet-1k, huge. Paper: 55.0 mIoU (table 7), on five scales (--tta).
_base_ = 'upernet_convnextv2-base-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='huge',
        init_cfg=dict(
            checkpoint='work_dirs/convnextv2-huge-fcmae_32xb32-amp-coslr-50e_in1k/epoch_50.pth',
        ),
    ),
    decode_head=dict(in_channels=[352, 704, 1408, 2816]),
    auxiliary_head=dict(in_channels=1408),
)
