# Can the whole path, labels to metric, learn eight COCO images by heart? Trained and evaluated on the same eight.
_base_ = [
    '../_base_/models/mask-rcnn_convnextv2-atto_fpn-small.py',
    '../_base_/detection_runtime.py',
]

dataset = dict(
    type='CocoDataset',
    data_root='data/coco/',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    indices=8,
)
# More regions than the toy scenes need: these images have up to 20 objects.
model = dict(train_cfg=dict(rcnn=dict(sampler=dict(num=128))))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    # Grey, not zero: zeros are positions of no variance to a scratch network, and LayerNorm blows up their gradients.
    dict(type='Pad', size=(512, 512), pad_val=dict(img=(114, 114, 114))),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    # No Pad: padding would be part of the image, and the masks of boxes in it cannot be pasted.
    dict(type='Resize', scale=(512, 512), keep_ratio=True),
    # The boxes of the file, which --show-dir draws beside the prediction, are not resized.
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(**dataset, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, pipeline=test_pipeline, test_mode=True),
)
test_dataloader = val_dataloader
# Without ann_file the ground truth is that of the dataset, wherever data_root is.
val_evaluator = dict(type='CocoMetric', metric=['bbox', 'segm'])
test_evaluator = val_evaluator

max_iters = 400  # 100 epochs of 8 images in batches of 2
train_cfg = dict(type='mmcnv2.IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, eta_min=0.0),
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval=max_iters // 2, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False)
