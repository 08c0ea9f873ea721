# UperNet from FCMAE weights alone, nano. The paper found it worse than with fine-tuning on ImageNet-1k in between
# (appendix A.4), and has no figure for it.
_base_ = 'upernet_convnextv2-nano-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnextv2-nano_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth'),
    ),
)
