# RTMDet on a pre-trained backbone: mmdet's recipe for ConvNeXt V1 base (rtmdet_l_convnext_b_4xb32-100e_coco) of 100
# epochs with layer-wise decay, for a batch of 32 instead of 4 x 32 = 128. What differs: large-scale jittering to 1024
# pixels instead of mosaic, mixup and 640 pixels, so that all detectors here see the same images.
max_epochs = 100
base_lr = 2.5e-4  # mmdet's 1e-3 for 128 images, x 32 / 128
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=base_lr, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='mmcnv2.LayerDecayOptimWrapperConstructor',
    # mmdet's 0.8 in 12 layers of three blocks, which is our 'group' for base. 0.8 ** 13 = 0.055 at its stem. Single
    # blocks decay by the third root, 0.8 ** (1 / 3) = 0.928: 0.928 ** 18 = 0.26 at the first block of tiny.
    paramwise_cfg=dict(decay_rate=0.8, decay_type='group'),
)

# Constant for half of the epochs, then a cosine to a twentieth.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        convert_to_iter_based=True,
        begin=max_epochs // 2,
        end=max_epochs,
        T_max=max_epochs // 2,
        eta_min=base_lr * 0.05,
    ),
]

train_cfg = dict(type='mmcnv2.EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

auto_scale_lr = dict(enable=False, base_batch_size=32)
