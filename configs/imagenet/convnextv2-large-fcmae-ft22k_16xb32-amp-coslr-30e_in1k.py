# Fine-tuning of ConvNeXt V2 large on ImageNet-1k, from weights fine-tuned on ImageNet-22k (table 13).
# Paper: 87.3 % top-1 (table 15).
_base_ = 'convnextv2-base-fcmae-ft22k_16xb32-amp-coslr-30e_in1k.py'

checkpoint = 'work_dirs/convnextv2-large-fcmae_64xb64-amp-coslr-90e_in22k/epoch_90.pth'
model = dict(
    backbone=dict(arch='large', drop_path_rate=0.3, init_cfg=dict(checkpoint=checkpoint)),
    head=dict(in_channels=1536, init_cfg=dict(override=dict(checkpoint=checkpoint))),
)
