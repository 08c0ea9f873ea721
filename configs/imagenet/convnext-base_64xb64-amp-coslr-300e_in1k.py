# Supervised training of ConvNeXt V1 base on ImageNet-1k, from random weights, with the settings of its paper
# (arXiv 2201.03545, table 5). Paper of V2: 83.8 % top-1 (table 3).
# Batch 4096 = 64 GPUs x 64 images. On 8 GPUs: --cfg-options optim_wrapper.accumulative_counts=8.
# 312 iterations an epoch = 1281167 images // 4096; 300 epochs = 93600 iterations.
_base_ = [
    '../_base_/models/convnextv2_classifier.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/imagenet_adamw_coslr.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    backbone=dict(type='mmcnv2.ConvNeXt', drop_path_rate=0.5),
    # As all other linear layers; the head's own default, a thousandth of it, is for fine-tuning.
    head=dict(init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)),
)
train_dataloader = dict(batch_size=64)

# Warm-up and cosine are those of the schedule: 20 epochs, to 1e-6. A rate of 1 is no layer-wise decay.
max_epochs = 300
optim_wrapper = dict(optimizer=dict(lr=4e-3), paramwise_cfg=dict(decay_rate=1.0))
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=4096)  # 64 x 64 GPUs
