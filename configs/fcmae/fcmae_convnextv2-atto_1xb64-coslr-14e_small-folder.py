# A short run on a folder of some thousand photographs: does the loss fall, and do reconstructions show the image?
# Fourteen epochs and the lr are those of the toy scenes.
_base_ = [
    '../_base_/models/fcmae_convnextv2.py',
    '../_base_/datasets/imagenet_fcmae.py',
    '../_base_/schedules/toy_pretrain.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(arch='atto'))
train_dataloader = dict(batch_size=64, num_workers=1, pin_memory=False)
test_cfg = None

default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=7, max_keep_ckpts=1))
custom_hooks = [
    dict(type='mmcnv2.ThroughputHook'),
    dict(type='mmcnv2.ReconstructionHook', interval=7),
]
