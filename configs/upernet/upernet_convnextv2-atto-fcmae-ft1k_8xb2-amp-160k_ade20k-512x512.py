# UperNet from FCMAE weights fine-tuned on ImageNet-1k, atto. The paper has no figure for it.
_base_ = 'upernet_convnextv2-base-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='atto',
        drop_path_rate=0.1,
        init_cfg=dict(
            checkpoint='work_dirs/convnextv2-atto-fcmae_32xb32-amp-coslr-600e_in1k/epoch_600.pth',
        ),
    ),
    decode_head=dict(in_channels=[40, 80, 160, 320]),
    auxiliary_head=dict(in_channels=160),
)

optim_wrapper = dict(paramwise_cfg=dict(decay_type='single'))
