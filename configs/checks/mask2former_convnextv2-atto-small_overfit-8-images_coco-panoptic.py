# Does Mask2Former learn eight COCO images by heart, things and stuff? Longer than for instances: only segments
# with a score above 0.8 count.
_base_ = [
    '../_base_/models/mask2former-panoptic_convnextv2-atto_small.py',
    '../_base_/datasets/coco-panoptic_overfit-8-images.py',
    '../_base_/schedules/overfit-8-images.py',
]

max_iters = 1000  # 250 epochs of 8 images in batches of 2
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 4)
default_hooks = dict(checkpoint=dict(interval=max_iters // 4))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
