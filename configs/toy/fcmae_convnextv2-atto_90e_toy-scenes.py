# Ten times as many passes, for what a longer pre-training gives: tools/quickstart.py --checkpoint
_base_ = 'fcmae_convnextv2-atto_toy-scenes.py'

max_epochs = 90
train_cfg = dict(max_epochs=max_epochs)
train_dataloader = dict(batch_size=32)  # as it was measured (docs/start/quickstart.md)
auto_scale_lr = dict(base_batch_size=32)

default_hooks = dict(checkpoint=dict(interval=10))
custom_hooks = [
    dict(type='mmcnv2.ThroughputHook'),
    dict(type='mmcnv2.ReconstructionHook', interval=10),
]
