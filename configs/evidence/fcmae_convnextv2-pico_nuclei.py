# A network of 9 million parameters instead of 3, with the same images and epochs.
_base_ = 'fcmae_convnextv2-atto_nuclei.py'

model = dict(backbone=dict(arch='pico'))
