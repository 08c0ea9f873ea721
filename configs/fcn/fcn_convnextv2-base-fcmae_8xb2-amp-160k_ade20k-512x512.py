# FCN on all four maps from FCMAE weights, base. Not in the paper, and not run in full here: the head is mmseg's, all
# else that of the recipe of UperNet, so that heads can be compared: 160k iterations of 16 images = 127 epochs of
# 20210, AdamW with lr 1e-4, weight decay 0.05, layer-wise decay 0.9.
# mmseg's recipes for ResNet and HRNet on ADE20K have SGD (batch 16, lr 0.01, 160k); a ConvNeXt wants AdamW.
_base_ = [
    '../_base_/models/fcn_convnextv2.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/upernet_adamw_160k.py',
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
