# FCMAE pre-training of ConvNeXt V2 base. Paper: 84.9 % top-1 on ImageNet-1k after fine-tuning (table 4).
# Batch 4096 = 64 GPUs x 64 images. On 8 GPUs: --cfg-options optim_wrapper.accumulative_counts=8
# (docs/reference/recipes.md).
# 312 iterations an epoch = 1281167 images // 4096; 1600 epochs = 499200 iterations.
_base_ = [
    '../_base_/models/fcmae_convnextv2.py',
    '../_base_/datasets/imagenet_fcmae.py',
    '../_base_/schedules/fcmae_adamw_coslr.py',
    '../_base_/default_runtime.py',
]

env_cfg = dict(cudnn_benchmark=True)  # all images have one size
# A checkpoint every 20 epochs, or 6240 iterations; the last three are kept.
default_hooks = dict(checkpoint=dict(interval=20, max_keep_ckpts=3))
custom_hooks = [
    dict(type='mmcnv2.ThroughputHook'),
    dict(type='mmcnv2.ReconstructionHook', interval=20),
]
