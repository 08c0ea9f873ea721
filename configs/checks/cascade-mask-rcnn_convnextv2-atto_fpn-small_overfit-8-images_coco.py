# Does Cascade Mask R-CNN learn eight COCO images by heart?
_base_ = [
    '../_base_/models/cascade-mask-rcnn_convnextv2-atto_fpn-small.py',
    '../_base_/datasets/coco_overfit-8-images.py',
    '../_base_/schedules/overfit-8-images.py',
]
