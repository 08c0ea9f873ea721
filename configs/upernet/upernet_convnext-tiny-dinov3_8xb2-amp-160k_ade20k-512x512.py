# UperNet from the weights of DINOv3, tiny. Their licence: see the config of base.
_base_ = 'upernet_convnext-base-dinov3_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='tiny',
        init_cfg=dict(checkpoint='timm://convnext_tiny.dinov3_lvd1689m'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
