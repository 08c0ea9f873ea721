# FCMAE pre-training of ConvNeXt V2 large, 1600 epochs. Paper: 85.8 % top-1 on ImageNet-1k after
# fine-tuning (table 4).
_base_ = 'fcmae_convnextv2-base_8xb64-accum8-amp-coslr-1600e_in1k.py'

model = dict(backbone=dict(arch='large'))
