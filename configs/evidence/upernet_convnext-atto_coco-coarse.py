# The first version of the network in the place of the second.
_base_ = 'upernet_convnextv2-atto_coco-coarse.py'

model = dict(backbone=dict(type='mmcnv2.ConvNeXt'))
