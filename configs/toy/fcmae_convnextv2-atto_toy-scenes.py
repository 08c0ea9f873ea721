_base_ = [
    '../_base_/models/fcmae_convnextv2.py',
    '../_base_/datasets/toy_scenes_unlabelled.py',
    '../_base_/schedules/toy_pretrain.py',
    '../_base_/default_runtime.py',
]

# At 96x96 an image has 3x3 patches, of which 3 stay visible. A decoder of 512 channels would cost more than atto.
model = dict(backbone=dict(arch='atto'), decoder_embed_dims=128)

default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=4, max_keep_ckpts=1))
custom_hooks = [
    dict(type='mmcnv2.ThroughputHook'),
    dict(type='mmcnv2.ReconstructionHook', interval=4),
]
