# Mask R-CNN from the weights of DINOv3 (arXiv 2508.10104), ConvNeXt V1 distilled from its ViT-7B. Not a recipe of that
# paper: all but the network and its weights is that of the recipes from FCMAE weights.
# Licence: the weights are Meta's, under the DINOv3 License
# (https://ai.meta.com/resources/models-and-libraries/dinov3-license/). Whoever uses them accepts it; this project
# contains none of them. timm downloads them.
_base_ = [
    '../_base_/models/mask-rcnn_convnextv2_fpn.py',
    '../_base_/datasets/coco_lsj-1024.py',
    '../_base_/schedules/mask-rcnn_adamw_3x.py',
    '../_base_/detection_runtime.py',
]

model = dict(
    # Mean and deviation of the images are ImageNet's, as in the base, and those of these weights in timm.
    # Large-scale jittering pads to the full size, after normalisation.
    data_preprocessor=dict(batch_augments=[dict(type='BatchFixedSizePad', size=(1024, 1024), pad_mask=True)]),
    backbone=dict(
        type='mmcnv2.ConvNeXt',
        # As from FCMAE weights (tiny 0.2, base 0.4, large 0.5); small, which has none, is between its neighbours.
        drop_path_rate=0.4,
        # The weights have no norms of maps: these start fresh and are trained.
        init_cfg=dict(type='mmcnv2.PretrainedConvNeXt', checkpoint='timm://convnext_base.dinov3_lvd1689m'),
    ),
    test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))),
)
# Layer-wise decay 0.95 of type 'group' in all sizes: mmdet's recipe for ConvNeXt V1 tiny has it, in six layers.
