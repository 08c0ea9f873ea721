# UperNet for two CPU cores: atto and narrow heads. Only the width differs from the full model.
_base_ = 'upernet_convnextv2.py'

model = dict(
    backbone=dict(arch='atto'),
    decode_head=dict(in_channels=[40, 80, 160, 320], channels=64),
    auxiliary_head=dict(in_channels=160, channels=64),
)
