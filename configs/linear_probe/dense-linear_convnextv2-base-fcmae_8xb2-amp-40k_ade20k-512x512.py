# Dense linear probe: mIoU of one 1x1 convolution on the frozen maps of a pre-trained backbone. It tells what the
# features hold without what a head could add, in a quarter of the iterations of UperNet. Other weights:
# model.backbone.init_cfg.checkpoint; a row to compare with, random weights: model.backbone.init_cfg=None.
_base_ = [
    '../_base_/models/dense-linear_convnextv2.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/dense-linear_adamw_40k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth',
            prefix='backbone.',
        ),
    ),
)

env_cfg = dict(cudnn_benchmark=True)  # all training images have one size
default_hooks = dict(checkpoint=dict(by_epoch=False, interval={{_base_.val_interval}}))
