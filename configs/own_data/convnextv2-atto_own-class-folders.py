# A classifier on images of your own, a folder for each class. `mmcnv2 init classes FOLDER --out FILE.py` writes a
# config that inherits this one, with the settings below filled in (docs/how_to/own_data.md). It needs mmpretrain.
_base_ = [
    '../_base_/models/convnextv2_classifier.py',
    '../_base_/schedules/own_finetune.py',
    '../_base_/classification_runtime.py',
]

data_root = 'data/own/'
classes = ('one', 'other')  # names of the folders, sorted
train_folder, val_folder = 'train', 'val'
image_size = 224  # divisible by 32
checkpoint = None  # weights to start from: FCMAE, official, ImageNet, ... (docs/how_to/weights.md)

num_classes = len(classes)
weights = dict(init_cfg=dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint=checkpoint)) if checkpoint else {}
model = dict(
    data_preprocessor=dict(num_classes=num_classes),
    backbone=dict(arch='atto', **weights),
    head=dict(num_classes=num_classes, in_channels=320, topk=(1,)),
    # Without mixup and cutmix, as the paper does for atto and femto (table 9).
    train_cfg=None,
)
dataset = dict(type='CustomDataset', data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset,
        data_prefix=train_folder,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='RandomResizedCrop',
                scale=image_size,
                crop_ratio_range=(0.3, 1.0),
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        data_prefix=val_folder,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=image_size, edge='short', backend='pillow', interpolation='bicubic'),
            dict(type='CenterCrop', crop_size=image_size),
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval={{_base_.val_interval}}, max_keep_ckpts=2, save_best='accuracy/top1'),
)
# Averages with decay 0.9999, as on ImageNet, would lag behind a few thousand iterations.
custom_hooks = [dict(type='mmcnv2.ThroughputHook')]
log_processor = dict(by_epoch=False)
