# Cascade Mask R-CNN on the features of DINOv3 as they are, ConvNeXt V1 base.
# All but the backbone is trained, with the full learning rate. Licence of the weights and reasons: see
# configs/mask_rcnn/mask-rcnn_convnext-base-dinov3*.py.
_base_ = 'cascade-mask-rcnn_convnextv2-base-fcmae_fpn_8xb4-amp-lsj-3x_coco.py'

model = dict(
    backbone=dict(
        type='mmcnv2.ConvNeXt',
        frozen_stages=4,
        drop_path_rate=0.0,
        init_cfg=dict(
            _delete_=True, type='mmcnv2.PretrainedConvNeXt', checkpoint='timm://convnext_base.dinov3_lvd1689m'
        ),
    ),
)
