# Fine-tuning of ConvNeXt V2 base on the labels of ImageNet-1k, from FCMAE weights. Paper: 84.9 % top-1 (table 14).
# Batch 1024 = 32 GPUs x 32 images. On 8 GPUs: --cfg-options optim_wrapper.accumulative_counts=4.
_base_ = [
    '../_base_/models/convnextv2_classifier.py',
    '../_base_/datasets/imagenet_224.py',
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
)
