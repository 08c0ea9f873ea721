# UperNet from the weights of DINOv3 (arXiv 2508.10104), ConvNeXt V1 distilled from its ViT-7B. Not a recipe of that
# paper: all but the network and its weights is that of the recipes from FCMAE weights.
# Licence: the weights are Meta's, under the DINOv3 License
# (https://ai.meta.com/resources/models-and-libraries/dinov3-license/). Whoever uses them accepts it; this project
# contains none of them. timm downloads them.
_base_ = [
    '../_base_/models/upernet_convnextv2.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/upernet_adamw_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    # Mean and deviation of the images are ImageNet's, as in the base, and those of these weights in timm.
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        type='mmcnv2.ConvNeXt',
        # That of mmseg's recipes for ConvNeXt V1: 0.4, small 0.3.
        drop_path_rate=0.4,
        # The weights have no norms of maps: these start fresh and are trained.
        init_cfg=dict(type='mmcnv2.PretrainedConvNeXt', checkpoint='timm://convnext_base.dinov3_lvd1689m'),
    ),
)
# Layer-wise decay 0.9 of type 'group' in all sizes. (mmseg's recipes for ConvNeXt V1 decay by the stage.)

env_cfg = dict(cudnn_benchmark=True)  # all training images have one size
default_hooks = dict(checkpoint=dict(by_epoch=False, interval={{_base_.val_interval}}))
