# ResNet-18 from random weights: what one would take instead.
_base_ = 'upernet_convnextv2-atto_nuclei.py'

model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, norm_cfg=dict(type='SyncBN', requires_grad=True)),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256),
)
