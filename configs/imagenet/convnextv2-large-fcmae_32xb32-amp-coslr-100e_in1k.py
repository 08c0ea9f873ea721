# Fine-tuning of ConvNeXt V2 large on ImageNet-1k, from FCMAE weights. Paper: 85.8 % top-1 (table 14).
_base_ = 'convnextv2-base-fcmae_32xb32-amp-coslr-100e_in1k.py'

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnextv2-large_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth'),
    ),
    head=dict(in_channels=1536),
)
