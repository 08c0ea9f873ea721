# FCMAE on images of one's own domain, from nothing: 464 images, about 25 minutes of one core.
_base_ = [
    '../_base_/models/fcmae_convnextv2.py',
    '../_base_/datasets/nuclei_unlabelled.py',
    '../_base_/schedules/toy_pretrain.py',
    '../_base_/default_runtime.py',
]

# Mean and deviation of these images, one for all channels, since most are grey: with ImageNet's the three channels of
# a dark grey patch differ by a constant, which is two thirds of the variance of FCMAE's normalised targets.
model = dict(
    data_preprocessor=dict(mean=[45.0] * 3, std=[70.0] * 3),
    backbone=dict(arch='atto'),
    decoder_embed_dims=128,
)

max_epochs = 150
warmup_epochs = 10
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=32)
test_cfg = None
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=warmup_epochs, eta_min=0.0, convert_to_iter_based=True),
]

default_hooks = dict(logger=dict(interval=14), checkpoint=dict(interval=50, max_keep_ckpts=4))
custom_hooks = [
    dict(type='mmcnv2.ThroughputHook'),
    dict(type='mmcnv2.ReconstructionHook', interval=50),
]
