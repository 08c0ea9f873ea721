# mmdet's DINO with four scales on our backbone; a config sets arch, neck.in_channels and init_cfg. mmdet has no model
# alone to inherit: it is taken out of its recipe. The empty _base_: see rtmdet_convnextv2.py.
_base_ = []
from mmengine.hub import get_config  # noqa: E402

default_scope = 'mmdet'
model = get_config('mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py').model.to_dict()
# Strides 8, 16 and 32; the neck makes the fourth scale, of stride 64.
model.update(backbone=dict(type='mmcnv2.ConvNeXtV2', arch='base', out_indices=(1, 2, 3)))
model['neck'].update(in_channels=[256, 512, 1024])
model['data_preprocessor'].update(pad_size_divisor=32)
