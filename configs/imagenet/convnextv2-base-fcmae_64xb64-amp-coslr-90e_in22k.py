# Fine-tuning of ConvNeXt V2 base on the labels of ImageNet-22k, from FCMAE weights (paper, table 12). The paper has no
# figure for it, only for what comes after: convnextv2-base-fcmae-ft22k_16xb32-amp-coslr-30e_in1k.
_base_ = [
    '../_base_/models/convnextv2_classifier.py',
    '../_base_/datasets/imagenet22k_224.py',
    '../_base_/schedules/imagenet_adamw_coslr.py',
    '../_base_/classification_runtime.py',
]

model = dict(
    backbone=dict(
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth',
            prefix='backbone.',
        ),
    ),
    head=dict(num_classes=21841),
)

# base lr 2.5e-4 * batch 4096 / 256 = 4e-3.
max_epochs, warmup_epochs = 90, 5
optim_wrapper = dict(optimizer=dict(lr=4e-3), paramwise_cfg=dict(decay_rate=0.8))
warmup, cosine = _base_.param_scheduler
warmup.update(end=warmup_epochs)
cosine.update(begin=warmup_epochs)
param_scheduler = [warmup, cosine]
train_cfg = dict(max_epochs=max_epochs)
val_cfg, test_cfg = None, None
auto_scale_lr = dict(base_batch_size=4096)  # 64 x 64 GPUs

custom_hooks = [dict(type='mmcnv2.ThroughputHook')]  # no averaged weights (table 12)
