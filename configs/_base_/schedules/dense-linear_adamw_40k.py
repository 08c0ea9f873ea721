# 40k iterations for a batch of 16, AdamW with lr 1e-3: those of DINOv2's linear segmentation on ADE20K
# (github.com/facebookresearch/dinov2, config dinov2_vitb14_ade20k_linear).
max_iters = 40000
val_interval = max_iters // 10  # also of checkpoints
warmup_iters = 1500

optim_wrapper = dict(
    type='AmpOptimWrapper',  # float16
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-4),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=warmup_iters),
    # Without end it ends with the training, also at another train_cfg.max_iters.
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=warmup_iters),
]

train_cfg = dict(type='mmcnv2.IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Scales the learning rate to another batch size with tools/train.py --auto-scale-lr.
auto_scale_lr = dict(enable=False, base_batch_size=16)
