# UperNet at 640x640 from FCMAE weights fine-tuned on ImageNet-22k, large. The paper has no figure for it.
_base_ = 'upernet_convnextv2-base-fcmae-ft22k_8xb2-amp-160k_ade20k-640x640.py'

model = dict(
    backbone=dict(
        arch='large',
        init_cfg=dict(checkpoint='work_dirs/convnextv2-large-fcmae_64xb64-amp-coslr-90e_in22k/epoch_90.pth'),
    ),
    decode_head=dict(in_channels=[192, 384, 768, 1536]),
    auxiliary_head=dict(in_channels=768),
)
