# Mask2Former for semantic segmentation from FCMAE weights, base. Not in the paper, and not run in full here: head,
# losses and schedule are those of Mask2Former (arXiv 2112.01527) in mmseg's recipe for ResNet-50; backbone, weights,
# layer-wise decay and data are those of UperNet. (Mask2Former takes crops of 640 for Swin base; here 512 for both.)
_base_ = [
    '../_base_/models/mask2former-semantic_convnextv2.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/mask2former-semantic_adamw_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        drop_path_rate=0.4,  # that of UperNet, base and tiny
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth',
            prefix='backbone.',
        ),
    ),
)

env_cfg = dict(cudnn_benchmark=True)  # all training images have one size
default_hooks = dict(checkpoint=dict(by_epoch=False, interval={{_base_.val_interval}}))
