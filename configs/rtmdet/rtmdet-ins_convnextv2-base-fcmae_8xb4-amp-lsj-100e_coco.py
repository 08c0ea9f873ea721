# RTMDet-Ins from FCMAE weights. The paper of ConvNeXt V2 has no figure for it.
# Numbers: see the schedule, which mmdet has for both.
_base_ = [
    '../_base_/models/rtmdet-ins_convnextv2.py',
    '../_base_/datasets/coco_lsj-1024.py',
    '../_base_/schedules/rtmdet_adamw_100e.py',
    '../_base_/detection_runtime.py',
]

model = dict(
    # Large-scale jittering pads to the full size, after normalisation.
    data_preprocessor=dict(batch_augments=[dict(type='BatchFixedSizePad', size=(1024, 1024), pad_mask=True)]),
    backbone=dict(
        drop_path_rate=0.4,  # as for Mask R-CNN
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k/epoch_1600.pth',
            prefix='backbone.',
        ),
    ),
)

# mmdet's averaged weights: momentum 2e-4 for 128 images a step, x 32 / 128.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=5e-5, update_buffers=True, priority='ABOVE_NORMAL'),
]
