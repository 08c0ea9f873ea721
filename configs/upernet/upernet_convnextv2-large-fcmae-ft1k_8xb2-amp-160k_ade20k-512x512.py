# UperNet from FCMAE weights fine-tuned on ImageNet-1k, large. Paper: 53.7 mIoU (table 7), on five scales (--tta).
_base_ = 'upernet_convnextv2-base-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='large',
        init_cfg=dict(
            checkpoint='work_dirs/convnextv2-large-fcmae_32xb32-amp-coslr-100e_in1k/epoch_100.pth',
        ),
    ),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768),
)
