# FCMAE pre-training of ConvNeXt V2 femto, 800 epochs. The paper has no figure for 800 epochs of this size.
_base_ = 'fcmae_convnextv2-base_8xb64-accum8-amp-coslr-800e_in1k.py'

model = dict(backbone=dict(arch='femto'))
