# UperNet on the features of DINOv3 as they are, base: only the heads are trained.
# Licence of the weights: see the config without -frozen.
_base_ = 'upernet_convnext-base-dinov3_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        # All four stages with their output norms: evaluation mode, no gradients. Drop path would be of no effect.
        # The weights have no norms of maps, so these keep weight 1 and bias 0: each position is normalised over its
        # channels, which gives the heads values of the size that they are made for. A trained weight and bias
        # could do no more, zero padding aside: convolutions with batch norm take the maps and can have its effect.
        frozen_stages=4,
        drop_path_rate=0.0,
    ),
)
# The optimizer then has no parameter of the backbone, and the layer-wise decay no effect: the heads have the full
# learning rate.
