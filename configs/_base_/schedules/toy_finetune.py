# For hundreds of iterations with batches of 2 to 4 images, most weights random.
max_iters = 400
val_interval = max_iters // 4
warmup_iters = 20
train_cfg = dict(type='mmcnv2.IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup_iters),
    # Without end and T_max it ends with the training, also at another train_cfg.max_iters.
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=warmup_iters,
        eta_min=0.0,
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=4)
