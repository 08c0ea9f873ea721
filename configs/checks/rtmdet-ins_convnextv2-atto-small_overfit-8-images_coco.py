# Does RTMDet-Ins learn eight COCO images by heart, boxes and masks?
_base_ = [
    '../_base_/models/rtmdet-ins_convnextv2-atto_small.py',
    '../_base_/datasets/coco_overfit-8-images.py',
    '../_base_/schedules/overfit-8-images.py',
]
