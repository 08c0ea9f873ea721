# UperNet from FCMAE weights fine-tuned on ImageNet-1k, nano. The paper has no figure for it.
_base_ = 'upernet_convnextv2-base-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='nano',
        drop_path_rate=0.1,
        init_cfg=dict(
            checkpoint='work_dirs/convnextv2-nano-fcmae_32xb32-amp-coslr-600e_in1k/epoch_600.pth',
        ),
    ),
    decode_head=dict(in_channels=[80, 160, 320, 640]),
    auxiliary_head=dict(in_channels=320),
)

optim_wrapper = dict(paramwise_cfg=dict(decay_type='single'))
