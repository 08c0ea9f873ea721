# Base lr as in the paper, 1.5e-4 x batch / 256, is for hundreds of thousands of iterations; a few hundred want more.
max_epochs = 14
warmup_epochs = 2
train_cfg = dict(type='mmcnv2.EpochBasedTrainLoop', max_epochs=max_epochs)
test_cfg = dict()

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    # No weight decay on biases, norms, GRN (all of one dimension) and the mask token.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={'mask_token': dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    # Without end and T_max it ends with the training, also at another train_cfg.max_epochs.
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=warmup_epochs,
        eta_min=0.0,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=64)
