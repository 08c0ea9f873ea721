# RetinaNet from FCMAE weights. The paper of ConvNeXt V2 has no figure for it.
# Schedule and learning rate are those of Mask R-CNN here; mmdet's recipe with AdamW (pvt/retinanet_pvt-t_fpn_1x_coco)
# has 1e-4, too, for 16 images and 12 epochs.
_base_ = [
    '../_base_/models/retinanet_convnextv2_fpn.py',
    '../_base_/datasets/coco_lsj-1024_boxes.py',
    '../_base_/schedules/mask-rcnn_adamw_3x.py',
    '../_base_/detection_runtime.py',
]

model = dict(
    # Large-scale jittering pads to the full size, after normalisation.
    data_preprocessor=dict(batch_augments=[dict(type='BatchFixedSizePad', size=(1024, 1024))]),
    backbone=dict(
        drop_path_rate=0.4,  # as for Mask R-CNN
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth',
            prefix='backbone.',
        ),
    ),
)
