# 160k iterations with AdamW and layer-wise decay, for a batch of 16 (paper, appendix A.4).
# 127 epochs = 160000 iterations * 16 images / 20210 images of ADE20K.
max_iters = 160000
val_interval = max_iters // 10  # also of checkpoints
warmup_iters = 1500

optim_wrapper = dict(
    type='AmpOptimWrapper',  # float16
    # The paper tried learning rates 1e-4, 2e-4, 3e-4 and decay rates 0.8, 0.9 and does not say which is better for
    # which size; these are the values of ConvNeXt V1 tiny, base and large (where 0.9 is for each stage, though).
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='mmcnv2.LayerDecayOptimWrapperConstructor',
    # 'group' for base and larger, 'single' below, as for Mask R-CNN.
    paramwise_cfg=dict(decay_rate=0.9, decay_type='group'),
)

# Not in the paper: warm-up and linear decay are those of ConvNeXt V1.
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
