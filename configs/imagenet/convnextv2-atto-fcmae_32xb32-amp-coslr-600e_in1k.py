# Fine-tuning of ConvNeXt V2 atto on ImageNet-1k, from FCMAE weights. Paper: 76.7 % top-1 (table 14).
# Table 9: base lr 2e-4 * batch 1024 / 256 = 8e-4, no warm-up, neither mixup nor cutmix.
_base_ = 'convnextv2-base-fcmae_32xb32-amp-coslr-100e_in1k.py'

model = dict(
    backbone=dict(
        arch='atto',
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnextv2-atto_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth'),
    ),
    head=dict(in_channels=320, loss=dict(label_smooth_val=0.2)),
    train_cfg=None,
)

max_epochs = 600
optim_wrapper = dict(
    optimizer=dict(lr=8e-4, weight_decay=0.3), paramwise_cfg=dict(decay_rate=0.9, decay_type='single')
)
_, cosine = _base_.param_scheduler
cosine.update(begin=0)
param_scheduler = [cosine]
train_cfg = dict(max_epochs=max_epochs)
