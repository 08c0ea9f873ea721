# Semantic FPN, narrow: can it learn eight images by heart? See the check of UperNet.
_base_ = [
    '../_base_/models/sem-fpn_convnextv2.py',
    '../_base_/datasets/coco-semantic_overfit-8-images.py',
    '../_base_/schedules/overfit-8-images_semantic.py',
]

model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    backbone=dict(arch='atto'),
    neck=dict(in_channels=[40, 80, 160, 320], out_channels=64),
    decode_head=dict(in_channels=[64, 64, 64, 64], channels=64, num_classes={{_base_.num_classes}}),
)
