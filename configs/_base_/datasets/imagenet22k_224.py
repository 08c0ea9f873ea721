# ImageNet-22k with its labels (the release of autumn 2011: 21841 classes) at 224x224. It has no validation split, so
# nothing is evaluated. Another folder: train_dataloader.dataset.data_root.
_base_ = 'imagenet_224.py'

data_root = 'data/imagenet22k'

train_dataloader = dict(
    batch_size=64,  # x 64 GPUs = 4096
    dataset=dict(type='ImageNet21k', data_root=data_root),
)
val_dataloader, test_dataloader = None, None
val_evaluator, test_evaluator = None, None
