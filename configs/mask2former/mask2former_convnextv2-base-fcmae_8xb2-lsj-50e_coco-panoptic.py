# Mask2Former for things and stuff from FCMAE weights. The paper of ConvNeXt V2 has no figure for it.
# Numbers: see the schedule. Evaluated by panoptic quality; annotations are those of COCO panoptic.
_base_ = [
    '../_base_/models/mask2former-panoptic_convnextv2.py',
    '../_base_/datasets/coco-panoptic_lsj-1024.py',
    '../_base_/schedules/mask2former_adamw_50e.py',
    '../_base_/detection_runtime.py',
]

model = dict(
    backbone=dict(
        drop_path_rate=0.4,  # as for Mask R-CNN
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth',
            prefix='backbone.',
        ),
    ),
)
