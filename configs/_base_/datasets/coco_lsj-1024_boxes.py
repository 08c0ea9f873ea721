# COCO with large-scale jittering, without masks.
_base_ = 'coco_lsj-1024.py'

train_pipeline, val_pipeline = _base_.train_dataloader.dataset.pipeline, _base_.val_dataloader.dataset.pipeline
train_pipeline[1].update(with_mask=False)
train_pipeline[3].update(recompute_bbox=False)  # from masks
val_pipeline[2].update(with_mask=False)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(metric=['bbox'])
test_evaluator = val_evaluator
del train_pipeline, val_pipeline
