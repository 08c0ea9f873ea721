# UperNet on label maps of your own: an image file each, one number a pixel. `mmcnv2 init label_maps FOLDER --out
# FILE.py` writes a config that inherits this one, with the settings below filled in (docs/how_to/own_data.md).
_base_ = [
    '../_base_/models/upernet_convnextv2-atto_small.py',
    '../_base_/schedules/own_finetune.py',
    '../_base_/segmentation_runtime.py',
]

data_root = 'data/own/'
classes = ('background', 'object')  # 0, 1, ...; 255 is ignored
image_suffix, label_suffix = '.jpg', '.png'
image_size = 256  # of the crops, divisible by 32
checkpoint = None  # weights to start from: FCMAE, official, ImageNet, ... (docs/how_to/weights.md)

weights = dict(init_cfg=dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint=checkpoint)) if checkpoint else {}
model = dict(
    data_preprocessor=dict(size=(image_size, image_size)),
    backbone=dict(**weights),
    decode_head=dict(num_classes=len(classes)),
    auxiliary_head=dict(num_classes=len(classes)),
)
dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    metainfo=dict(classes=classes),
    img_suffix=image_suffix,
    seg_map_suffix=label_suffix,
)
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmcnv2.LoadLabelMap', num_classes=len(classes)),
            dict(type='RandomCrop', crop_size=(image_size, image_size)),
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
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval={{_base_.val_interval}}, max_keep_ckpts=2, save_best='mIoU'),
)
