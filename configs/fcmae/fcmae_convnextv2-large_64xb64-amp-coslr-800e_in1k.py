# FCMAE pre-training of ConvNeXt V2 large, 800 epochs. Paper: 85.6 % top-1 on ImageNet-1k after
# fine-tuning (table 4).
_base_ = 'fcmae_convnextv2-base_64xb64-amp-coslr-800e_in1k.py'

model = dict(backbone=dict(arch='large'))
