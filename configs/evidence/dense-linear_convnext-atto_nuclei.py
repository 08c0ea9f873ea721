# The first version of the network in the place of the second.
_base_ = 'dense-linear_convnextv2-atto_nuclei.py'

model = dict(backbone=dict(type='mmcnv2.ConvNeXt'))
