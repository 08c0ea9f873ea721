# mmpretrain's classifier with our backbone; a config sets arch, head.in_channels, train_cfg and init_cfg,
# and imports 'mmcnv2.models.heads' (custom_imports), which needs mmpretrain.
default_scope = 'mmpretrain'

model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        num_classes=1000,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    # The norm comes after the pooling, in the head.
    backbone=dict(type='mmcnv2.ConvNeXtV2', arch='base', out_indices=(3,), out_norm=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmcnv2.ConvNeXtV2ClsHead',
        num_classes=1000,
        in_channels=1024,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    # One of the two for each batch, either as likely as the other.
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
