# For own data with labels: some thousand iterations with small batches, heads from random weights.
# Rates as for the toy scenes: Mask R-CNN 7e-4 at a batch of 2, UperNet 3e-3 at 4 (docs/start/quickstart.md).
_base_ = 'toy_finetune.py'

max_iters = 2000
val_interval = max_iters // 10  # also of checkpoints
warmup_iters = 100
train_cfg = dict(max_iters=max_iters, val_interval=val_interval)
warm_up, cosine = _base_.param_scheduler
warm_up.update(end=warmup_iters)
cosine.update(begin=warmup_iters)
