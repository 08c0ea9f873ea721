# DINO: mmdet's recipe (dino-4scale_r50_8xb2-36e_coco) for a batch of 16, with layer-wise decay.
# 7330 iterations an epoch = 117266 images with boxes / 16, rounded up; 36 epochs = 263880 iterations.
optim_wrapper = dict(
    type='OptimWrapper',  # float32, as mmdet's
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    constructor='mmcnv2.LayerDecayOptimWrapperConstructor',
    # Instead of a tenth of the learning rate for the whole backbone, as mmdet has it: on InternImage-L (README of its
    # detection, 12 epochs) layer-wise rates gave 57.5 box AP, a tenth 57.6. The rate is that of Mask R-CNN here.
    paramwise_cfg=dict(
        decay_rate=0.95,
        decay_type='group',
        # Embeddings of queries, of levels and of noisy labels: not pulled to zero. (mmdet decays them, with 1e-4.)
        no_decay=['query_embedding', 'level_embed', 'label_embedding'],
    ),
)

param_scheduler = [dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[30], gamma=0.1)]

train_cfg = dict(type='mmcnv2.EpochBasedTrainLoop', max_epochs=36, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

auto_scale_lr = dict(enable=False, base_batch_size=16)
