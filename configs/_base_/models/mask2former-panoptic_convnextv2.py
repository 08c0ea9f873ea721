# Mask2Former for things and stuff; all else is that of mask2former_convnextv2.py.
_base_ = []
from mmengine.hub import get_config  # noqa: E402

default_scope = 'mmdet'
model = get_config('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py').model.to_dict()
model.update(backbone=dict(type='mmcnv2.ConvNeXtV2', arch='base'))
model['panoptic_head'].update(in_channels=[128, 256, 512, 1024])
