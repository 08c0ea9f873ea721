# UperNet from FCMAE weights fine-tuned on ImageNet-1k, tiny. The paper has no figure for it.
_base_ = 'upernet_convnextv2-base-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='tiny',
        init_cfg=dict(
            checkpoint='work_dirs/convnextv2-tiny-fcmae_32xb32-amp-coslr-300e_in1k/epoch_300.pth',
        ),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)

optim_wrapper = dict(paramwise_cfg=dict(decay_type='single'))
