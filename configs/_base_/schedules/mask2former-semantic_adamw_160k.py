# Mask2Former on ADE20K: 160k iterations for a batch of 16, AdamW with lr 1e-4 and weight decay 0.05, gradients clipped
# to a norm of 0.01, polynomial decay of power 0.9 without warm-up (arXiv 2112.01527, mmseg's recipe for ResNet-50).
# 127 epochs = 160000 iterations * 16 images / 20210 images of ADE20K.
max_iters = 160000
val_interval = max_iters // 10  # also of checkpoints

optim_wrapper = dict(
    # float32, as in mmseg's recipe: whether losses and matching stay within the range of float16 was not tried.
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    constructor='mmcnv2.LayerDecayOptimWrapperConstructor',
    # In place of 0.1 for all of the backbone: the stem of base has 0.9**13 = 0.254, its last blocks 0.9.
    paramwise_cfg=dict(
        decay_rate=0.9,
        decay_type='group',
        # Embeddings are matrices, and have no weight decay in the official code.
        no_decay=['query_embed', 'query_feat', 'level_embed'],
    ),
)

# Without end it ends with the training, also at another train_cfg.max_iters.
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0)]

train_cfg = dict(type='mmcnv2.IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Scales the learning rate to another batch size with tools/train.py --auto-scale-lr.
auto_scale_lr = dict(enable=False, base_batch_size=16)
