# Fine-tuning of ConvNeXt V2 nano on ImageNet-1k, from FCMAE weights. Paper: 81.9 % top-1 (table 14).
_base_ = 'convnextv2-atto-fcmae_32xb32-amp-coslr-600e_in1k.py'

model = dict(
    backbone=dict(
        arch='nano',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnextv2-nano_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth'),
    ),
    head=dict(in_channels=640),
    # Table 9: mixup 0.5, cutmix 0.5.
    train_cfg=dict(_delete_=True, augments=[dict(type='Mixup', alpha=0.5), dict(type='CutMix', alpha=0.5)]),
)
