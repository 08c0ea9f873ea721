# Fine-tuning of ConvNeXt V2 base on the labels of ImageNet-1k, from FCMAE weights. Paper: 84.9 % top-1 (table 14).
_base_ = [
    '../_base_/models/convnextv2_classifier.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/finetune_adamw_coslr.py',
    '../_base_/default_runtime.py',
]

# The head needs mmpretrain, so it is imported here only.
custom_imports = dict(imports=['mmcnv2', 'mmcnv2.models.heads'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth',
            prefix='backbone.',
        ),
    ),
)

train_dataloader = dict(batch_size=32)  # x 32 GPUs = 1024; on 8 GPUs: optim_wrapper.accumulative_counts=4

env_cfg = dict(cudnn_benchmark=True)  # all images have one size
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
# Averaged weights with decay 0.9999 (paper, tables 9 to 11); they are evaluated and, in a checkpoint, 'state_dict'.
custom_hooks = [
    dict(type='mmcnv2.ThroughputHook'),
    dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL'),
]
