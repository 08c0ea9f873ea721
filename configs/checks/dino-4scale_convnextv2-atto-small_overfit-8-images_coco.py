# Does DINO learn eight COCO images by heart? Queries take a little longer than anchors.
_base_ = [
    '../_base_/models/dino-4scale_convnextv2-atto_small.py',
    '../_base_/datasets/coco_overfit-8-images_boxes.py',
    '../_base_/schedules/overfit-8-images.py',
]

max_iters = 560  # 140 epochs of 8 images in batches of 2
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 2)
default_hooks = dict(checkpoint=dict(interval=max_iters // 2))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
