# ImageNet-1k at 224x224; beside it the pipelines for 384x384 and 512x512, of which a recipe takes its own.
_base_ = 'imagenet_224.py'

load, crop, *augment, pack = _base_.train_dataloader.dataset.pipeline
train_pipeline_384 = [load, dict(crop, scale=384), *augment, pack]
train_pipeline_512 = [load, dict(crop, scale=512), *augment, pack]

# Tests see the whole image squashed to a square, as those of the official code do from 384 pixels on.
squash = dict(type='Resize', backend='pillow', interpolation='bicubic')
test_pipeline_384 = [load, dict(squash, scale=(384, 384)), pack]
test_pipeline_512 = [load, dict(squash, scale=(512, 512)), pack]
