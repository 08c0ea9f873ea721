# Semantic FPN on the features of DINOv3 as they are, tiny: only the head is trained.
# Licence of the weights and reasons: see the configs of UperNet with the same weights.
_base_ = 'sem-fpn_convnextv2-tiny-fcmae_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmcnv2.ConvNeXt',
        arch='tiny',
        frozen_stages=4,
        init_cfg=dict(type='mmcnv2.PretrainedConvNeXt', checkpoint='timm://convnext_tiny.dinov3_lvd1689m'),
    ),
)
