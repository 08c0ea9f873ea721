# Mask2Former, semantic, from FCMAE weights, tiny. Not in the paper.
_base_ = 'mask2former-semantic_convnextv2-base-fcmae_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='tiny',
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnextv2-tiny_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
)

optim_wrapper = dict(paramwise_cfg=dict(decay_type='single'))
