# Fine-tuning of ConvNeXt V2 femto on ImageNet-1k, from FCMAE weights. Paper: 78.5 % top-1 (table 14).
_base_ = 'convnextv2-atto-fcmae_32xb32-amp-coslr-600e_in1k.py'

model = dict(
    backbone=dict(
        arch='femto',
        drop_path_rate=0.0,
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnextv2-femto_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth'),
    ),
    head=dict(in_channels=384),
    # Table 9: mixup 0.3, cutmix 0.3.
    train_cfg=dict(_delete_=True, augments=[dict(type='Mixup', alpha=0.3), dict(type='CutMix', alpha=0.3)]),
)

optim_wrapper = dict(optimizer=dict(weight_decay=0.05))  # table 9
