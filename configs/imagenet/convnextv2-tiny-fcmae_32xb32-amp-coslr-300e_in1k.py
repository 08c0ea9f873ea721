# Fine-tuning of ConvNeXt V2 tiny on ImageNet-1k, from FCMAE weights. Paper: 83.0 % top-1 (table 14).
# Table 10: base lr 8e-4 * batch 1024 / 256 = 3.2e-3.
_base_ = 'convnextv2-base-fcmae_32xb32-amp-coslr-100e_in1k.py'

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnextv2-tiny_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth'),
    ),
    head=dict(in_channels=768),
)

max_epochs, warmup_epochs = 300, 40
optim_wrapper = dict(optimizer=dict(lr=3.2e-3), paramwise_cfg=dict(decay_rate=0.9, decay_type='single'))
warmup, cosine = _base_.param_scheduler
warmup.update(end=warmup_epochs)
cosine.update(begin=warmup_epochs)
param_scheduler = [warmup, cosine]
train_cfg = dict(max_epochs=max_epochs)
