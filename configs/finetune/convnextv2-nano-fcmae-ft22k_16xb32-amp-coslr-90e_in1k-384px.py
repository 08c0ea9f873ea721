# Fine-tuning of ConvNeXt V2 nano on ImageNet-1k at 384x384, from weights fine-tuned on ImageNet-22k (table 13).
# Paper: 83.4 % top-1 (table 15).
_base_ = 'convnextv2-nano-fcmae-ft22k_16xb32-amp-coslr-90e_in1k.py'

train_pipeline = _base_.train_pipeline
train_pipeline[1].update(scale=384)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# Tests see the whole image squashed to a square, as those of the official code do from 384 pixels on.
load, *_, pack = _base_.test_pipeline
test_pipeline = [load, dict(type='Resize', scale=(384, 384), backend='pillow', interpolation='bicubic'), pack]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
