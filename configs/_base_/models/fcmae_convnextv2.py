default_scope = 'mmcnv2'

model = dict(
    type='FCMAE',
    backbone=dict(type='ConvNeXtV2', arch='base'),
    mask_ratio=0.6,
    decoder_embed_dims=512,
    decoder_depth=1,
    norm_pix_loss=True,
    # The images are read as RGB; mean and deviation of ImageNet on the scale 0-255.
    data_preprocessor=dict(
        type='mmengine.ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
)
