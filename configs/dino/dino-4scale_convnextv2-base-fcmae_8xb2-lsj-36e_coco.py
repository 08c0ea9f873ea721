# DINO from FCMAE weights. The paper of ConvNeXt V2 has no figure for it.
# Numbers: see the schedule. Large-scale jittering is instead of mmdet's scales and crops for DETR.
_base_ = [
    '../_base_/models/dino-4scale_convnextv2.py',
    '../_base_/datasets/coco_lsj-1024_boxes.py',
    '../_base_/schedules/dino_adamw_36e.py',
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

# 8 GPUs x 2 = 16 images.
train_dataloader = dict(batch_size=2)
