"""Which checkpoint a run continues from. (tests/test_tools/test_resume.py does it with the real tool.)"""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_run import build_runner, differences
from helpers.training import load
from mmengine.config import Config

from mmcnv2.inference.loading import load_predictor
from mmcnv2.models.weights.reading import load_checkpoint
from mmcnv2.resuming import newest_of, newest_whole_checkpoint
from mmcnv2.utils.errors import ConfigError


def write(path, iteration, **content):
    torch.save(dict(meta=dict(iter=iteration), state_dict=dict(w=torch.arange(1000.0)), **content), path)


def test_latest_iteration_not_latest_file(tmp_path):
    write(tmp_path / 'iter_900.pth', 900)
    write(tmp_path / 'preempted.pth', 950)
    write(tmp_path / 'epoch_3.pth', 600)
    assert newest_whole_checkpoint(str(tmp_path)) == str(tmp_path / 'preempted.pth')


def test_nothing_to_go_on_from(tmp_path):
    assert newest_whole_checkpoint(str(tmp_path)) is None
    assert newest_whole_checkpoint(str(tmp_path / 'no such folder')) is None


def test_other_files_are_left_alone(tmp_path):
    """Published weights and pictures of other things lie in the same folder."""
    torch.save(dict(state_dict={}), tmp_path / 'published-1234abcd.pth')
    write(tmp_path / 'epoch_1.pth', 10)
    (tmp_path / '.tmp.epoch_2.pth').write_bytes(b'half')
    assert newest_whole_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_1.pth')


@pytest.mark.parametrize('damage', ['empty', 'text', 'cut', 'bit', 'weights', 'list'])
def test_damaged_ones_are_left_out(damage, tmp_path):
    write(tmp_path / 'epoch_1.pth', 10)
    newest = tmp_path / 'epoch_2.pth'
    write(newest, 20)
    content = bytearray(newest.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 777] ^= 4
    if damage == 'weights':
        torch.save(dict(state_dict={}), newest)
    elif damage == 'list':
        torch.save([1, 2], newest)
    else:
        given = {'empty': b'', 'text': b'not a checkpoint', 'cut': newest.read_bytes()[:-50], 'bit': bytes(content)}
        newest.write_bytes(given[damage])
    assert newest_whole_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_1.pth')


def test_all_damaged(tmp_path):
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        (tmp_path / name).write_bytes(b'x')
    with pytest.raises(ConfigError, match=r'^all checkpoints in .* are damaged: .*epoch_1'):
        newest_whole_checkpoint(str(tmp_path))
    # What to do depends on who asks.
    with pytest.raises(ConfigError, match=r'^--resume: all .* Name a good one with --resume PATH'):
        newest_of(Config(dict(work_dir=str(tmp_path))))
    with pytest.raises(ConfigError, match=r'^--detector .*: all .* Give a config and a good checkpoint'):
        load_predictor('--detector', [str(tmp_path)])


def test_a_checkpoint_that_could_run_code_is_refused_and_not_called_damaged(tmp_path):
    torch.save(dict(meta=dict(iter=2), code=test_checkpoint_of_another_folder), tmp_path / 'iter_2.pth')
    (tmp_path / 'iter_3.pth').write_bytes(b'')
    with pytest.raises(ConfigError, match=r'are damaged: .*iter_3.pth or refused, .*--allow-pickle\): .*iter_2.pth'):
        newest_whole_checkpoint(str(tmp_path))


def test_checkpoint_of_another_folder(tmp_path):
    """``out_dir`` of the checkpoint hook: MMEngine saves in a folder of the work dir's name there."""
    hooks = dict(checkpoint=dict(out_dir=str(tmp_path / 'far')))
    cfg = Config(dict(work_dir=str(tmp_path / 'run'), default_hooks=hooks))
    (tmp_path / 'run').mkdir()
    (tmp_path / 'far/run').mkdir(parents=True)
    assert newest_of(cfg) is None
    torch.save(dict(meta=dict(iter=2)), tmp_path / 'run/preempted.pth')
    torch.save(dict(meta=dict(iter=4)), tmp_path / 'far/run/iter_4.pth')
    assert newest_of(cfg) == str(tmp_path / 'far/run/iter_4.pth')


@pytest.mark.parametrize('strategy', ['cos', 'linear'])
def test_one_cycle(tmp_path, strategy):
    """MMEngine keeps a method in its state, and no checkpoint could be read; older ones are read all the same."""
    options = dict(schedulers=dict(type='OneCycleLR', eta_max=0.1, total_steps=19, anneal_strategy=strategy))
    options['schedulers']['by_epoch'] = False
    runner = build_runner(tmp_path / 'whole', **options)
    runner.train()
    path = Path(newest_whole_checkpoint(str(tmp_path / 'whole')))
    assert path.name == 'iter_18.pth'
    build_runner(tmp_path / 'on', resume_from=tmp_path / 'whole/iter_7.pth', **options).train()
    assert differences(load(path), load(tmp_path / 'on/iter_18.pth')) == []
    content = torch.load(path, weights_only=False)
    content['param_schedulers'] = [runner.param_schedulers[0].state_dict()]  # as MMEngine saves it
    torch.save(content, tmp_path / 'iter_18.pth')
    found = load_checkpoint(str(tmp_path / 'iter_18.pth'))['param_schedulers'][0]['anneal_func']
    assert found(0.0, 1.0, 0.25) == pytest.approx(0.25 if strategy == 'linear' else (1 - np.cos(np.pi / 4)) / 2)
