# DINO for two CPU cores: atto, half the width, two encoder and three decoder layers, a ninth of the queries.
_base_ = 'dino-4scale_convnextv2.py'

width = 128
ffn_cfg = dict(embed_dims=width, feedforward_channels=256)
model = dict(
    num_queries=100,
    backbone=dict(arch='atto'),
    neck=dict(in_channels=[80, 160, 320], out_channels=width),
    encoder=dict(
        num_layers=2,
        layer_cfg=dict(self_attn_cfg=dict(embed_dims=width), ffn_cfg=ffn_cfg),
    ),
    decoder=dict(
        num_layers=3,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=width),
            cross_attn_cfg=dict(embed_dims=width),
            ffn_cfg=ffn_cfg,
        ),
    ),
    positional_encoding=dict(num_feats=width // 2),
    bbox_head=dict(embed_dims=width),
    # 20 instead of 100 noisy copies of the labels: images have up to 20 objects.
    dn_cfg=dict(group_cfg=dict(num_dn_queries=20)),
    test_cfg=dict(max_per_img=100),
)
