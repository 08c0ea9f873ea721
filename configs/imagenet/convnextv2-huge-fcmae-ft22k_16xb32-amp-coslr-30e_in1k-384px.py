# Fine-tuning of ConvNeXt V2 huge on ImageNet-1k at 384x384, from weights fine-tuned on ImageNet-22k (table 13).
# Paper: 88.7 % top-1 (table 15). The type of layer-wise decay is that of base and large.
_base_ = 'convnextv2-base-fcmae-ft22k_16xb32-amp-coslr-30e_in1k-384px.py'

checkpoint = 'work_dirs/convnextv2-huge-fcmae_64xb64-amp-coslr-90e_in22k/epoch_90.pth'
model = dict(
    backbone=dict(arch='huge', drop_path_rate=0.5, init_cfg=dict(checkpoint=checkpoint)),
    head=dict(in_channels=2816, init_cfg=dict(override=dict(checkpoint=checkpoint))),
)

optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.85))
custom_hooks = [dict(type='mmcnv2.ThroughputHook')]  # no averaged weights (table 13)
