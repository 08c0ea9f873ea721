"""``compile=`` of a config: a compiled training is the same training."""

import pytest
import torch
from helpers.combinations import build_config, combinations
from helpers.launching import launch_forked
from helpers.training import load


@pytest.mark.slow
@pytest.mark.parametrize('task', ['fcmae', 'upernet', 'mask-rcnn'])
def test_compiled(root, data, tmp_path, task):
    """With ``with_cp``, drop path and clipped gradients; by torch's tracing alone, without a C++ compiler."""
    (combination, *_) = (one for one in combinations() if one.task == task)
    changes = dict(with_cp=True, drop_path=0.2, workers=0, bfloat16=False, clip_grad=True, accumulation=1)
    changes |= dict(loop='epochs', batch_size=2, optimizer='SGD', layer_decay=None, frozen_stages=-1)  # not by signs
    cfg = build_config(root, data, type(combination)(**{**vars(combination), **changes}))
    cfg.train_cfg.update(max_epochs=1)
    cfg.update(param_scheduler=[], custom_hooks=[], val_dataloader=None, val_evaluator=None, val_cfg=None)
    for name in ('eager', 'compiled'):
        if name == 'compiled':
            cfg.compile = dict(
                backend='aot_eager'
            )  # torch's debugging backend 'eager' recomputes with other random numbers
        cfg.dump(tmp_path / f'{name}.py')
        launch_forked(root, 'tools/train.py', tmp_path / f'{name}.py', '--work-dir', tmp_path / name)
    eager, compiled = (load(tmp_path / name / 'iter_4.pth')['state_dict'] for name in ('eager', 'compiled'))
    start = load(tmp_path / 'eager/iter_3.pth')['state_dict']
    assert eager.keys() == compiled.keys()
    way = sum((eager[key].double() - start[key].double()).square().sum() for key in eager).sqrt()
    apart = sum((eager[key].double() - compiled[key].double()).square().sum() for key in eager).sqrt()
    assert apart < 1e-3 * way and torch.isfinite(way) and way > 0
    assert 'CompileHook' in (tmp_path / 'compiled').glob('*/*.log').__next__().read_text()
