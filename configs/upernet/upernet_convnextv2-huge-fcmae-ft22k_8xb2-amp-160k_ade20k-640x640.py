# UperNet at 640x640 from FCMAE weights fine-tuned on ImageNet-22k, huge. Paper: 57.0 mIoU (table 7),
# tested on several scales (--tta).
_base_ = 'upernet_convnextv2-base-fcmae-ft22k_8xb2-amp-160k_ade20k-640x640.py'

model = dict(
    backbone=dict(
        arch='huge',
        init_cfg=dict(checkpoint='work_dirs/convnextv2-huge-fcmae_64xb64-amp-coslr-90e_in22k/epoch_90.pth'),
    ),
    decode_head=dict(in_channels=[352, 704, 1408, 2816]),
    auxiliary_head=dict(in_channels=1408),
)
