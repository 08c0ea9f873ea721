# DeepLabV3+, narrow: can it learn eight images by heart? See the check of UperNet.
_base_ = [
    '../_base_/models/deeplabv3plus_convnextv2.py',
    '../_base_/datasets/coco-semantic_overfit-8-images.py',
    '../_base_/schedules/overfit-8-images_semantic.py',
]

model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    backbone=dict(arch='atto'),
    decode_head=dict(
        in_channels=320,
        channels=64,
        dilations=(1, 2, 3, 4),  # the map of 256 pixels has 8x8 positions
        c1_in_channels=40,
        c1_channels=16,
        num_classes={{_base_.num_classes}},
    ),
    auxiliary_head=dict(in_channels=160, channels=64, num_classes={{_base_.num_classes}}),
)
