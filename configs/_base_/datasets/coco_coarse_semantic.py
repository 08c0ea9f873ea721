# COCO's panoptic label maps (80 things, then 53 kinds of stuff, in the order of mmdet's CocoPanopticDataset) in 20
# coarse classes: for a hundred images 133 classes are too many. The numbers are labels of the files. The lists name
# the images that have label maps; docs/measurements/evidence.md says how to make them.
members = dict(
    person=[0],
    vehicle=[*range(1, 9)],  # bicycle to boat
    street_furniture=[*range(9, 14), 80, 94, 117],  # traffic light to bench; banner, net, fence
    animal=[*range(14, 24)],  # bird to giraffe
    carried=[*range(24, 39)],  # backpack to suitcase, frisbee to tennis racket
    tableware=[*range(39, 46)],  # bottle to bowl
    food=[*range(46, 56), 89, 128],  # banana to cake; fruit, other food
    seat_or_bed=[56, 57, 59, 61],  # chair, couch, bed, toilet
    table_or_cabinet=[60, 84, 104, 120, 121],  # dining table; counter, shelf, cabinet, table
    device=[*range(62, 73), 92],  # tv to refrigerator; light
    small_object=[*range(73, 80), 83, 127],  # book to toothbrush; cardboard, paper
    textile=[81, 85, 95, 107, 108, 132],  # blanket, curtain, pillow, tent, towel, rug
    building=[82, 91, 101, 129],  # bridge, house, roof, other building
    wall_or_ceiling=[86, 93, 109, 110, 111, 112, 114, 115, 118, 131],  # door, mirror, walls, windows, ceiling
    floor=[87, 106, 122],  # wood, stairs, other floor
    road_or_pavement=[96, 98, 100, 123],  # platform, railroad, road, pavement
    ground=[90, 97, 102, 105, 124, 126, 130],  # gravel, playing field, sand, snow, mountain, dirt, rock
    plant=[58, 88, 116, 125],  # potted plant; flower, tree, grass
    water=[99, 103, 113],  # river, sea, other water
    sky=[119],
)
classes = list(members)
label_map = {label: number for number, labels in enumerate(members.values()) for label in labels}
load_labels = dict(type='mmcnv2.LoadLabelMap', num_classes=len(classes), label_map=label_map)
del members, label_map

dataset = dict(
    type='BaseSegDataset',
    data_root='data/coco_labelled/',
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
        data_prefix=dict(img_path='train2017', seg_map_path='semantic/train2017'),
        ann_file='train2017.txt',
        pipeline=[
            dict(type='LoadImageFromFile'),
            load_labels,
            dict(type='RandomResize', scale=(320, 240), ratio_range=(0.5, 1.5), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(128, 128), cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
# mmseg's inference_model looks for this name. Label maps are loaded after Resize: evaluated at the size of the file.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(320, 240), keep_ratio=True),
    load_labels,
    dict(type='PackSegInputs'),
]
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='val2017', seg_map_path='semantic/val2017'),
        ann_file='val2017.txt',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
