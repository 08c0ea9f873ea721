# The same as imagenet_fcmae.py from tar shards, which `mmcnv2 make-shards` makes of a folder.
_base_ = 'imagenet_fcmae.py'

train_dataloader = dict(
    sampler=dict(type='ChunkedSampler'),
    # 1281167 images in shards of 10000.
    dataset=dict(type='UnlabelledShards', data_root='data/imagenet_shards', shards='{000000..000128}.tar'),
)
