# Fine-tuning of ConvNeXt V2 base on the labels of ImageNet-1k, from weights fine-tuned on ImageNet-22k (table 13).
# Paper: 86.8 % top-1 (table 15).
_base_ = [
    '../_base_/models/convnextv2_classifier.py',
    '../_base_/datasets/imagenet_224_to_512.py',
    '../_base_/schedules/imagenet_adamw_coslr.py',
    '../_base_/classification_runtime.py',
]

checkpoint = 'work_dirs/convnextv2-base-fcmae_64xb64-amp-coslr-90e_in22k/epoch_90.pth'
model = dict(
    backbone=dict(
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.'),
    ),
    # The norm is that of the checkpoint, the linear layer fresh, as in the official code.
    head=dict(
        init_cfg=dict(
            type='TruncNormal',
            layer='Linear',
            std=2e-5,
            override=dict(type='Pretrained', name='norm', checkpoint=checkpoint, prefix='head.norm.'),
        ),
    ),
    train_cfg=None,  # neither mixup nor cutmix
)

# base lr 2.5e-5 * batch 512 / 256 = 5e-5, no warm-up.
max_epochs = 30
optim_wrapper = dict(optimizer=dict(lr=5e-5, weight_decay=1e-8), paramwise_cfg=dict(decay_rate=0.8))
_, cosine = _base_.param_scheduler
cosine.update(begin=0)
param_scheduler = [cosine]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=512)  # 32 x 16 GPUs
