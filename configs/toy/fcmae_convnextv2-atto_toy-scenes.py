_base_ = [
    '../_base_/models/fcmae_convnextv2.py',
    '../_base_/datasets/toy_scenes_unlabelled.py',
    '../_base_/schedules/toy_pretrain.py',
    '../_base_/default_runtime.py',
]

# At 128x128 an image has 4x4 patches, of which 6 stay visible. A decoder of 512 channels would cost more than atto.
model = dict(backbone=dict(arch='atto'), decoder_embed_dims=128)

# Nine passes over 2000 images: five to six minutes of a core.
max_epochs = 9
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=16)

default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=3, max_keep_ckpts=1))
custom_hooks = [
    dict(type='mmcnv2.ThroughputHook'),
    dict(type='mmcnv2.ReconstructionHook', interval=3),
]
