# A network of 9 million parameters instead of 3.
_base_ = 'dense-linear_convnextv2-atto_nuclei.py'

model = dict(
    backbone=dict(arch='pico'),
    decode_head=dict(in_channels=[64, 128, 256, 512], channels=960),
)
