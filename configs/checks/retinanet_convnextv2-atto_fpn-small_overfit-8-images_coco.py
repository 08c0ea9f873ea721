# Does RetinaNet learn eight COCO images by heart?
_base_ = [
    '../_base_/models/retinanet_convnextv2-atto_fpn-small.py',
    '../_base_/datasets/coco_overfit-8-images_boxes.py',
    '../_base_/schedules/overfit-8-images.py',
]
