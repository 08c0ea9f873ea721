"""What needs no second process; the rest is in tests/test_tools/test_distributed.py."""

import pytest
import torch.distributed as dist

from mmcnv2.registry import STRATEGIES


def test_clipping_is_refused(tmp_path):
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        strategy = STRATEGIES.build(dict(type='mmcnv2.FSDPStrategy', work_dir=str(tmp_path)))
        optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=1.0))
        with pytest.raises(ValueError, match=r'cannot clip gradients: remove optim_wrapper\.clip_grad'):
            strategy.build_optim_wrapper(optim_wrapper)
    finally:
        dist.destroy_process_group()
