# FCMAE pre-training of ConvNeXt V1 base, 800 epochs, which the paper compares with V2. Paper: 83.7 % top-1 on
# ImageNet-1k after fine-tuning (table 3), below 83.8 % without pre-training.
# The block of the decoder is of the same kind as those of the backbone.
_base_ = 'fcmae_convnextv2-base_64xb64-amp-coslr-800e_in1k.py'

model = dict(backbone=dict(type='ConvNeXt'))
