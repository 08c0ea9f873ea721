# FCMAE pre-training of ConvNeXt V2 pico, 800 epochs. The paper has no figure for 800 epochs of this size.
_base_ = 'fcmae_convnextv2-base_64xb64-amp-coslr-800e_in1k.py'

model = dict(backbone=dict(arch='pico'))
