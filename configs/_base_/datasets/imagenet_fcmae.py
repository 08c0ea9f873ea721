# ImageNet-1k without its labels: any folder of images will do, sub-folders or not. data_root is the only path.
train_dataloader = dict(
    batch_size=64,  # x 64 GPUs = 4096
    num_workers=10,  # as in the official code
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,  # every iteration has the full batch, as in the official code
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='UnlabelledImages',
        data_root='data/imagenet/train',
        # Crops and flips are the only augmentation (paper, table 8; scale and interpolation: official code).
        pipeline=[
            dict(type='LoadRandomResizedCrop', size=224, scale=(0.2, 1.0), interpolation='bicubic', flip_prob=0.5),
            dict(type='PackUnlabelled'),
        ],
    ),
)
