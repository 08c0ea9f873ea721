# Fine-tuning of ConvNeXt V2 pico on ImageNet-1k, from FCMAE weights. Paper: 80.3 % top-1 (table 14).
_base_ = 'convnextv2-atto-fcmae_32xb32-amp-coslr-600e_in1k.py'

model = dict(
    backbone=dict(
        arch='pico',
        drop_path_rate=0.0,
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnextv2-pico_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth'),
    ),
    head=dict(in_channels=512),
    # Table 9: mixup 0.3, cutmix 0.3.
    train_cfg=dict(_delete_=True, augments=[dict(type='Mixup', alpha=0.3), dict(type='CutMix', alpha=0.3)]),
)
