# Eight COCO images with label maps, to learn by heart: trained and evaluated on the same eight.
crop_size = (256, 256)
num_classes = 133  # COCO panoptic: 80 things and 53 kinds of stuff; 255 is ignored

dataset = dict(
    type='BaseSegDataset',
    data_root='data/coco/',
    data_prefix=dict(img_path='train2017', seg_map_path='semantic/train2017'),
    img_suffix='.jpg',
    seg_map_suffix='.png',
    metainfo=dict(classes=[f'class {i}' for i in range(num_classes)]),
    indices=8,
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=crop_size),
    dict(type='mmcnv2.LoadLabelMap', num_classes=num_classes),  # after Resize: evaluated at the size of the file
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmcnv2.LoadLabelMap', num_classes=num_classes),
            dict(type='Resize', scale=crop_size),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
