# Does Faster R-CNN learn eight COCO images by heart?
_base_ = [
    '../_base_/models/faster-rcnn_convnextv2-atto_fpn-small.py',
    '../_base_/datasets/coco_overfit-8-images_boxes.py',
    '../_base_/schedules/overfit-8-images.py',
]

# More regions than the toy scenes need: these images have up to 20 objects.
model = dict(train_cfg=dict(rcnn=dict(sampler=dict(num=128))))
