# Can the whole path, labels to metric, learn eight COCO images by heart? Trained and evaluated on the same eight.
_base_ = [
    '../_base_/models/mask-rcnn_convnextv2-atto_fpn-small.py',
    '../_base_/datasets/coco_overfit-8-images.py',
    '../_base_/schedules/overfit-8-images.py',
]

# More regions than the toy scenes need: these images have up to 20 objects.
model = dict(train_cfg=dict(rcnn=dict(sampler=dict(num=128))))
