# Mask R-CNN on instances of your own in COCO's format. `mmcnv2 init coco FOLDER --out FILE.py` writes a config that
# inherits this one, with the settings below filled in (docs/how_to/own_data.md).
_base_ = [
    '../_base_/models/mask-rcnn_convnextv2-atto_fpn-small.py',
    '../_base_/schedules/own_finetune.py',
    '../_base_/detection_runtime.py',
]

data_root = 'data/own/'
classes = ('object',)  # in the order of the file
train_file, val_file = 'annotations/instances_train.json', 'annotations/instances_val.json'
image_size = 512
checkpoint = None  # weights to start from: FCMAE, official, ImageNet, ... (docs/how_to/weights.md)

weights = dict(init_cfg=dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint=checkpoint)) if checkpoint else {}
model = dict(
    backbone=dict(**weights),
    roi_head=dict(bbox_head=dict(num_classes=len(classes)), mask_head=dict(num_classes=len(classes))),
)
dataset = dict(type='CocoDataset', data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset,
        ann_file=train_file,
        data_prefix=dict(img='train/'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='RandomResize', scale=(image_size, image_size), ratio_range=(0.5, 1.5), keep_ratio=True),
            dict(
                type='RandomCrop',
                crop_size=(image_size, image_size),
                recompute_bbox=True,
                allow_negative_crop=True,
            ),
            dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        ann_file=val_file,
        data_prefix=dict(img='val/'),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(image_size, image_size), keep_ratio=True),
            # The boxes of the file, which --show-dir draws beside the prediction, are not resized.
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=data_root + val_file, metric=['bbox', 'segm'])
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(lr=1e-3))  # 7e-4 * sqrt(batch 4 / 2)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval={{_base_.val_interval}}, max_keep_ckpts=2, save_best='coco/bbox_mAP'),
)
log_processor = dict(by_epoch=False)
