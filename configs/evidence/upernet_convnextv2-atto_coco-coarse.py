# 20 coarse classes, 100 COCO images. From scratch; from FCMAE as in upernet_convnextv2-atto_nuclei.py.
_base_ = [
    '../_base_/models/upernet_convnextv2-atto_small.py',
    '../_base_/datasets/coco_coarse_semantic.py',
    '../_base_/schedules/toy_finetune.py',
    '../_base_/segmentation_runtime.py',
]

num_classes = 20
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    decode_head=dict(num_classes=num_classes),
    auxiliary_head=dict(num_classes=num_classes),
)

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval={{_base_.max_iters}}),
)
