# FCMAE pre-training of ConvNeXt V2 nano, 1600 epochs. Paper: 81.9 % top-1 on ImageNet-1k after fine-tuning (table 14,
# which does not say whether after 800 or 1600 epochs).
_base_ = 'fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k.py'

model = dict(backbone=dict(arch='nano'))
