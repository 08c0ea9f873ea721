# Can the whole path, label maps to metric, learn eight images by heart? Trained and evaluated on the same eight.
_base_ = [
    '../_base_/models/upernet_convnextv2-atto_small.py',
    '../_base_/segmentation_runtime.py',
]

crop_size = (256, 256)
num_classes = 133  # COCO panoptic: 80 things and 53 kinds of stuff; 255 is ignored
model = dict(
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(num_classes=num_classes),
    auxiliary_head=dict(num_classes=num_classes),
)

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

max_iters = 320  # 80 epochs of 8 images in batches of 2
train_cfg = dict(type='mmcnv2.IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=20, eta_min=0.0),
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval=max_iters // 2, max_keep_ckpts=1),
)
