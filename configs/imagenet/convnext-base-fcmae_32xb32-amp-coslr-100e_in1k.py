# Fine-tuning of ConvNeXt V1 base on the labels of ImageNet-1k, from FCMAE weights of 800 epochs, with the settings of
# V2 base. Paper: 83.7 % top-1 (table 3).
_base_ = 'convnextv2-base-fcmae_32xb32-amp-coslr-100e_in1k.py'

model = dict(
    backbone=dict(
        type='mmcnv2.ConvNeXt',
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnext-base_64xb64-amp-coslr-800e_in1k/epoch_800.pth'),
    ),
)
