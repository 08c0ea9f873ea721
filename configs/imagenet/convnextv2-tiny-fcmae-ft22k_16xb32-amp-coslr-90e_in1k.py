# Fine-tuning of ConvNeXt V2 tiny on ImageNet-1k, from weights fine-tuned on ImageNet-22k (table 13).
# Paper: 83.9 % top-1 (table 15).
_base_ = 'convnextv2-base-fcmae-ft22k_16xb32-amp-coslr-30e_in1k.py'

checkpoint = 'work_dirs/convnextv2-tiny-fcmae_64xb64-amp-coslr-90e_in22k/epoch_90.pth'
model = dict(
    backbone=dict(arch='tiny', drop_path_rate=0.1, init_cfg=dict(checkpoint=checkpoint)),
    head=dict(in_channels=768, init_cfg=dict(override=dict(checkpoint=checkpoint))),
)

max_epochs = 90
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.9, decay_type='single'))
train_cfg = dict(max_epochs=max_epochs)
