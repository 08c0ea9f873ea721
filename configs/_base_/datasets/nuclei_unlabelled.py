# 464 microscopy images of nuclei without their labels: stage1_train of the 2018 Data Science Bowl (BBBC038v1, CC0).
# The longer side of a nucleus is 23 pixels (median), a patch of FCMAE 32. Crops are small and are enlarged two- to
# threefold, so that a nucleus spans several patches: where a patch hides it whole, nothing is learned of it
# (docs/measurements/evidence.md).
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmcnv2.UnlabelledImages',
        data_root='data/nuclei/train/',
        pipeline=[
            dict(type='LoadRandomResizedCrop', size=128, scale=(0.02, 0.15), interpolation='bicubic', flip_prob=0.5),
            dict(type='PackUnlabelled'),
        ],
    ),
)
