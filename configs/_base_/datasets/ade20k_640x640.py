# ADE20K at 640x640: as at 512x512, with all sizes times 640 / 512.
_base_ = 'ade20k_512x512.py'

train_pipeline = _base_.train_dataloader.dataset.pipeline
train_pipeline[2].update(scale=(2560, 640))
train_pipeline[3].update(crop_size=(640, 640))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(2560, 640))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# The paper names its scales for 512 only: 0.75, 0.875, 1, 1.125 and 1.25. Here they are times (2560, 640).
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=scale, keep_ratio=True)
    for scale in [(1920, 480), (2240, 560), (2560, 640), (2880, 720), (3200, 800)]
]
