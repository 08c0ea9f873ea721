# The built-in toy scenes with boxes and masks; `mmcnv2 make-toy-scenes` writes them.
classes = ('ball', 'box', 'can', 'cone', 'ring', 'mug')  # mmcnv2.toy_scenes.CLASSES
dataset = dict(
    type='CocoDataset',
    data_root='data/toy_scenes/',
    metainfo=dict(classes=classes),
)
train_dataloader = dict(
    batch_size=2,  # of the same images, many small steps teach a detector from scratch more than few large ones
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
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=8,
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
