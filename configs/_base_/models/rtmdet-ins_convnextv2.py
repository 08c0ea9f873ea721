# RTMDet-Ins, RTMDet with masks: mmdet's head, with the norm of the other parts.
_base_ = 'rtmdet_convnextv2.py'
from mmengine.hub import get_config  # noqa: E402

of_mmdet = get_config('mmdet::rtmdet/rtmdet-ins_l_8xb32-300e_coco.py').model.to_dict()
model = dict(
    data_preprocessor=dict(pad_mask=True),
    bbox_head=dict(_delete_=True, **of_mmdet['bbox_head']),
    test_cfg=of_mmdet['test_cfg'],
)
model['bbox_head'].update(norm_cfg=dict(type='GN', num_groups=32))
del of_mmdet
