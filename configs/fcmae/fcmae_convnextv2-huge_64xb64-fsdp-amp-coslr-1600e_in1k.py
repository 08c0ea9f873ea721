# The recipe of huge with parameters, gradients and AdamW's state sharded over the GPUs (docs/how_to/distributed.md).
# Without sharding these are 10.6 GB a GPU = 660 million x (4 + 4 + 8) bytes.
_base_ = 'fcmae_convnextv2-huge_64xb64-amp-coslr-1600e_in1k.py'

runner_type = 'FlexibleRunner'
strategy = dict(type='mmcnv2.FSDPStrategy')
