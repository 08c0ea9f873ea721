# mmdet's RTMDet on our backbone, with GroupNorm as in mmdet's recipe for ConvNeXt V1; a config sets arch,
# neck.in_channels and init_cfg. mmdet has no model alone to inherit: it is taken out of that recipe. The empty _base_
# comes first because MMEngine otherwise takes a config with an import for one of its other style.
_base_ = []
from mmengine.hub import get_config  # noqa: E402

default_scope = 'mmdet'
model = get_config('mmdet::rtmdet/rtmdet_l_convnext_b_4xb32-100e_coco.py').model.to_dict()
model.update(backbone=dict(type='mmcnv2.ConvNeXtV2', arch='base', out_indices=(1, 2, 3)))
# mmdet pads in the pipeline of its recipe.
model['data_preprocessor'].update(pad_size_divisor=32)
