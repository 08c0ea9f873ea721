# Fine-tuning of ConvNeXt V2 tiny on ImageNet-1k at 384x384, from weights fine-tuned on ImageNet-22k (table 13).
# Paper: 85.1 % top-1 (table 15).
_base_ = 'convnextv2-tiny-fcmae-ft22k_16xb32-amp-coslr-90e_in1k.py'

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline_384))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline_384))
test_dataloader = val_dataloader
