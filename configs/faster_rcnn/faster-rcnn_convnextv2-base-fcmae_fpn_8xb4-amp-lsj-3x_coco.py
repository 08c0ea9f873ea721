# Faster R-CNN from FCMAE weights. The paper of ConvNeXt V2 has no figure for it.
# All numbers are those of Mask R-CNN (appendix A.3 of the ConvNeXt V2 paper, which has no Faster R-CNN).
_base_ = [
    '../_base_/models/faster-rcnn_convnextv2_fpn.py',
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
    # As Mask R-CNN's: soft-NMS, for boxes.
    test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))),
)
