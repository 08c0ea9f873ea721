# Faster R-CNN for two CPU cores: the small Mask R-CNN without masks.
_base_ = 'mask-rcnn_convnextv2-atto_fpn-small.py'

model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(mask_roi_extractor=None, mask_head=None),
)
