# Mask R-CNN on the features of DINOv3 as they are, tiny: only neck and heads are trained.
# Licence of the weights and reasons: see the configs of base, without and with -frozen.
_base_ = 'mask-rcnn_convnext-tiny-dinov3_fpn_8xb4-amp-lsj-3x_coco.py'

model = dict(backbone=dict(frozen_stages=4, drop_path_rate=0.0))
