# FCMAE on 1,128 photographs without labels, from nothing: one of each class of ImageNet, and 128 images of COCO's
# train2017. Twice the iterations of the nuclei.
_base_ = 'fcmae_convnextv2-atto_nuclei.py'

mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
model = dict(data_preprocessor=dict(mean=mean, std=std))
train_dataloader = dict(
    dataset=dict(
        data_root='data/photographs/',
        pipeline=[
            dict(type='LoadRandomResizedCrop', size=128, scale=(0.2, 1.0), interpolation='bicubic', flip_prob=0.5),
            dict(type='PackUnlabelled'),
        ],
    )
)
max_epochs = 120
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(logger=dict(interval=35), checkpoint=dict(interval=30))
custom_hooks = [
    dict(type='mmcnv2.ThroughputHook'),
    dict(type='mmcnv2.ReconstructionHook', interval=30),
]
