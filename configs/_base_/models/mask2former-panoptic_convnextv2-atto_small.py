# Mask2Former for two CPU cores, for things and stuff: what mmdet sets for these otherwise than for things alone.
_base_ = 'mask2former_convnextv2-atto_small.py'

num_stuff_classes = 53
model = dict(
    data_preprocessor=dict(pad_seg=True),
    panoptic_head=dict(
        num_stuff_classes=num_stuff_classes,
        loss_cls=dict(class_weight=[1.0] * (80 + num_stuff_classes) + [0.1]),  # the last is 'no object'
    ),
    panoptic_fusion_head=dict(num_stuff_classes=num_stuff_classes),
    test_cfg=dict(panoptic_on=True),
)
