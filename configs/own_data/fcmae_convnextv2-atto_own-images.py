# FCMAE on images of your own, without labels. `mmcnv2 init images FOLDER --out FILE.py` writes a config that inherits
# this one, with the settings below filled in (docs/how_to/own_data.md).
_base_ = [
    '../_base_/models/fcmae_convnextv2.py',
    '../_base_/schedules/toy_pretrain.py',
    '../_base_/default_runtime.py',
]

data_root = 'data/own/'  # with its sub-folders
list_file = ''  # '' is all images of the folder
image_size, crop_scale = 224, (0.2, 1.0)  # side of the crops, divisible by 32; their share of an image's area
checkpoint = None  # weights to go on from, or None

weights = dict(init_cfg=dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint=checkpoint)) if checkpoint else {}
model = dict(
    backbone=dict(arch='atto', **weights),
    decoder_embed_dims=128,  # a decoder of 512 channels would cost more than atto
)
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmcnv2.UnlabelledImages',
        data_root=data_root,
        ann_file=list_file,
        pipeline=[
            dict(
                type='LoadRandomResizedCrop',
                size=image_size,
                scale=crop_scale,
                interpolation='bicubic',
                flip_prob=0.5,
            ),
            dict(type='PackUnlabelled'),
        ],
    ),
)
test_cfg = None

max_epochs = 300  # for some hundreds of images
warmup_epochs = 10
train_cfg = dict(max_epochs=max_epochs)
warm_up, cosine = _base_.param_scheduler
warm_up.update(end=warmup_epochs)
cosine.update(begin=warmup_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-3))  # 1.5e-3 * sqrt(batch 32 / 64)
auto_scale_lr = dict(base_batch_size=32)

default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=max_epochs // 10, max_keep_ckpts=2))
custom_hooks = [
    dict(type='mmcnv2.ThroughputHook'),
    dict(type='mmcnv2.ReconstructionHook', interval=max_epochs // 10),
]
