# Cascade Mask R-CNN from FCMAE weights, base, with the settings of Mask R-CNN. The paper has no figure for it.
_base_ = [
    '../_base_/models/cascade-mask-rcnn_convnextv2_fpn.py',
    '../_base_/datasets/coco_lsj-1024.py',
    '../_base_/schedules/mask-rcnn_adamw_3x.py',
    '../_base_/detection_runtime.py',
]

model = dict(
    # Large-scale jittering pads to the full size, after normalisation.
    data_preprocessor=dict(batch_augments=[dict(type='BatchFixedSizePad', size=(1024, 1024), pad_mask=True)]),
    backbone=dict(
        drop_path_rate=0.4,  # that of Mask R-CNN base
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth',
            prefix='backbone.',
        ),
    ),
    test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))),
)
