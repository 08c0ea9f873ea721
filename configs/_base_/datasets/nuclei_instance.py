# The instances of nuclei_semantic.py. A share of the labels: train_dataloader.dataset.indices=23 (5 %), 93 (20 %).
dataset = dict(
    type='CocoDataset',
    data_root='data/nuclei/',
    metainfo=dict(classes=('nucleus',)),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='RandomCrop', crop_size=(192, 192), allow_negative_crop=True),
            dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical', 'diagonal']),
            dict(type='PackDetInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale_factor=1.0),  # notes the scale that mmdet's evaluation asks for
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
            ),
        ],
    ),
)
test_dataloader = val_dataloader
# Without ann_file the ground truth is that of the dataset, wherever data_root is.
val_evaluator = dict(type='CocoMetric', metric=['bbox', 'segm'])
test_evaluator = val_evaluator
