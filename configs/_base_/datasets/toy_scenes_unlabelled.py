# The built-in toy scenes without their labels; `mmcnv2 make-toy-scenes` writes them.
train_dataloader = dict(
    batch_size=16,  # of the same images, many small steps teach more than few large ones (docs/start/quickstart.md)
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmcnv2.UnlabelledImages',
        data_root='data/toy_scenes/unlabelled/',
        pipeline=[
            dict(type='LoadRandomResizedCrop', size=128, scale=(0.4, 1.0), flip_prob=0.5),
            dict(type='PackUnlabelled'),
        ],
    ),
)
# Pre-training has no validation, so that data_root of train_dataloader is all another folder takes.
test_dataloader = dict(
    batch_size=50,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmcnv2.UnlabelledImages',
        data_root='data/toy_scenes/val/',
        pipeline=[
            dict(type='LoadRGBImage'),
            dict(type='Resize', scale=(128, 128)),
            dict(type='PackUnlabelled'),
        ],
    ),
)
test_evaluator = dict(type='mmcnv2.ReconstructionError')
