# Fine-tuning of ConvNeXt V2 nano on the labels of ImageNet-22k, from FCMAE weights (paper, table 12).
_base_ = 'convnextv2-base-fcmae_64xb64-amp-coslr-90e_in22k.py'

model = dict(
    backbone=dict(
        arch='nano',
        drop_path_rate=0.0,
        init_cfg=dict(checkpoint='work_dirs/fcmae_convnextv2-nano_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth'),
    ),
    head=dict(in_channels=640),
)

optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.9, decay_type='single'))
