# FCMAE pre-training (paper, table 8) of 1600 epochs, for a batch of 4096.
max_epochs = 1600
warmup_epochs = 40

optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',
    loss_scale=1.0,  # bfloat16 has the range of float32
    # Linear scaling rule: base lr 1.5e-4 * batch 4096 / 256 = 2.4e-3.
    optimizer=dict(type='AdamW', lr=2.4e-3, betas=(0.9, 0.95), weight_decay=0.05),
    # No decay for norms, biases, gamma and beta of GRN (these are flat), mask token. (The official code decays GRN
    # and mask token because they have more than one dimension there.)
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys=dict(mask_token=dict(decay_mult=0.0)),
    ),
)

# The learning rate changes every iteration, as in the official code.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,  # the official code starts at 0, which MMEngine's recursive schedule cannot leave
        begin=0,
        end=warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    # Without end and T_max it ends with the training, also at another train_cfg.max_epochs.
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        begin=warmup_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(type='mmcnv2.EpochBasedTrainLoop', max_epochs=max_epochs)

# Scales the learning rate to another batch size with tools/train.py --auto-scale-lr.
auto_scale_lr = dict(enable=False, base_batch_size=4096)
