# Mask2Former: mmdet's recipe (mask2former_r50_8xb2-lsj-50e_coco), which is that of the paper (arXiv 2112.01527), with
# layer-wise decay: 50 epochs, batch 16, lr 1e-4, weight decay 0.05. mmdet counts iterations: its 368750 are 50 epochs
# of 118000 images, and its steps at 327778 and 355092 are those at 44.4 and 48.1 epochs.
optim_wrapper = dict(
    type='OptimWrapper',  # float32, as mmdet's
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    constructor='mmcnv2.LayerDecayOptimWrapperConstructor',
    # Instead of a tenth of the learning rate for the whole backbone. The rate is that of Mask R-CNN here.
    paramwise_cfg=dict(
        decay_rate=0.95,
        decay_type='group',
        no_decay=['query_embed', 'query_feat', 'level_embed'],  # as mmdet's: no weight decay of embeddings
    ),
)

param_scheduler = [dict(type='MultiStepLR', by_epoch=True, begin=0, end=50, milestones=[44, 48], gamma=0.1)]

train_cfg = dict(type='mmcnv2.EpochBasedTrainLoop', max_epochs=50, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

auto_scale_lr = dict(enable=False, base_batch_size=16)
