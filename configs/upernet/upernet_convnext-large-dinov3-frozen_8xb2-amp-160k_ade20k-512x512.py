# UperNet on the features of DINOv3 as they are, large: only the heads are trained.
# Licence of the weights and reasons: see the configs of base, without and with -frozen.
_base_ = 'upernet_convnext-large-dinov3_8xb2-amp-160k_ade20k-512x512.py'

model = dict(backbone=dict(frozen_stages=4, drop_path_rate=0.0))
