# UperNet from the weights of DINOv3, large. Their licence: see the config of base.
_base_ = 'upernet_convnext-base-dinov3_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='large',
        init_cfg=dict(checkpoint='timm://convnext_large.dinov3_lvd1689m'),
    ),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768),
)
