# Fine-tuning of ConvNeXt V2 huge on ImageNet-1k at 512x512, from weights fine-tuned on ImageNet-22k (table 13).
# Paper: 88.9 % top-1 (table 15).
_base_ = 'convnextv2-huge-fcmae-ft22k_16xb32-amp-coslr-30e_in1k-384px.py'

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline_512))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline_512))
test_dataloader = val_dataloader
