# Eight images of COCO with things and stuff to train and to evaluate on. The labels: tools/coco_panoptic.py.
dataset = dict(
    type='CocoPanopticDataset',
    data_root='data/',
    ann_file='coco_panoptic/panoptic_train2017.json',
    data_prefix=dict(img='coco/train2017/', seg='coco_panoptic/panoptic_train2017/'),
    indices=8,
)
size = (320, 320)
load_labels = dict(type='LoadPanopticAnnotations', with_bbox=True, with_mask=True, with_seg=True)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset,
        pipeline=[
            dict(type='LoadImageFromFile'),
            load_labels,
            dict(type='Resize', scale=size, keep_ratio=True),
            # Grey: see coco_overfit-8-images.py. 255 is no label.
            dict(type='Pad', size=size, pad_val=dict(img=(114, 114, 114), seg=255)),
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
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=size, keep_ratio=True),
            load_labels,
            dict(
                type='PackDetInputs',
                meta_keys=(
                    *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
                    *('seg_map_path', 'segments_info'),
                ),
            ),
        ],
    ),
)
test_dataloader = val_dataloader
# Without ann_file the ground truth is that of the dataset: of eight images.
val_evaluator = dict(type='CocoPanopticMetric', seg_prefix='data/coco_panoptic/panoptic_train2017/', nproc=1)
test_evaluator = val_evaluator
