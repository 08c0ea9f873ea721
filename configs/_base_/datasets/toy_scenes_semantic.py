# The built-in toy scenes with label maps; `mmcnv2 make-toy-scenes` writes them.
classes = ('background', 'ball', 'box', 'can', 'cone', 'ring', 'mug')  # background, then mmcnv2.toy_scenes.CLASSES
dataset = dict(
    type='BaseSegDataset',
    data_root='data/toy_scenes/',
    metainfo=dict(classes=classes),
    img_suffix='.jpg',
    seg_map_suffix='.png',
)
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='train', seg_map_path='semantic/train'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmcnv2.LoadLabelMap', num_classes=len(classes)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
# mmseg's inference_model looks for this name.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmcnv2.LoadLabelMap', num_classes=len(classes)),
    dict(type='PackSegInputs'),
]
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='val', seg_map_path='semantic/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
