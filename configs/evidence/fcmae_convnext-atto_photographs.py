# The first version of the network, with the same images and budget.
_base_ = 'fcmae_convnextv2-atto_photographs.py'

model = dict(backbone=dict(type='ConvNeXt'))
