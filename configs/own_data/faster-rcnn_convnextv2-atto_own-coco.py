# Faster R-CNN on boxes of your own in COCO's format: Mask R-CNN's recipe without masks.
_base_ = 'mask-rcnn_convnextv2-atto_own-coco.py'

model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(mask_roi_extractor=None, mask_head=None),
)
train_pipeline, val_pipeline = _base_.train_dataloader.dataset.pipeline, _base_.val_dataloader.dataset.pipeline
train_pipeline[1].update(with_mask=False)
train_pipeline[3].update(recompute_bbox=False)
val_pipeline[2].update(with_mask=False)
test_dataloader = dict(dataset=dict(pipeline=val_pipeline))
val_evaluator = dict(metric=['bbox'])
test_evaluator = val_evaluator
