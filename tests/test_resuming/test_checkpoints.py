"""Which checkpoint a run continues from. (tests/test_tools/test_resume.py does it with the real tool.)"""

import pytest
import torch

from mmcnv2.resuming import newest_whole_checkpoint
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
    with pytest.raises(ConfigError, match=r'all checkpoints in .* are damaged: .*epoch_1.*Name a good one'):
        newest_whole_checkpoint(str(tmp_path))
