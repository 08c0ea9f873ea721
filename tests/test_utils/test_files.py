"""Files keep their old content until all of the new one is on the disk."""

import errno
import os

import pytest
import torch
from mmengine.runner import save_checkpoint

from mmcnv2.utils.files import ATOMIC_BACKEND_ARGS, AtomicLocalBackend, written_whole


def test_a_file_is_never_half_written(tmp_path, monkeypatch):
    """At the moment of the renaming, the old file is whole and the new content is on the disk, whole."""
    path, seen = tmp_path / 'a.bin', []
    AtomicLocalBackend().put(b'old', path)
    replace = os.replace

    def look(source, target):
        with open(source, 'rb') as new, open(target, 'rb') as old:
            seen.append((old.read(), new.read()))
        replace(source, target)

    monkeypatch.setattr('os.replace', look)
    AtomicLocalBackend().put(b'new' * 1000, str(path))
    assert seen == [(b'old', b'new' * 1000)]
    assert path.read_bytes() == b'new' * 1000
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made(tmp_path):
    AtomicLocalBackend().put(b'x', tmp_path / 'a/b/c.bin')
    assert (tmp_path / 'a/b/c.bin').read_bytes() == b'x'


def test_full_disk(tmp_path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')
    (tmp_path / '.tmp.a.bin').symlink_to('/dev/full')
    with pytest.raises(OSError, match=r'No space left on device.*a\.bin') as caught:
        AtomicLocalBackend().put(b'new', path)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


def test_mmengine_writes_checkpoints_so_where_it_is_asked_to(tmp_path):
    path = tmp_path / 'a.pth'
    save_checkpoint(dict(iter=1), str(path), backend_args=ATOMIC_BACKEND_ARGS)
    (tmp_path / '.tmp.a.pth').symlink_to('/dev/full')
    with pytest.raises(OSError, match='No space left'):
        save_checkpoint(dict(iter=2), str(path), backend_args=ATOMIC_BACKEND_ARGS)
    assert torch.load(path) == dict(iter=1)
    save_checkpoint(dict(iter=2), str(path), backend_args=ATOMIC_BACKEND_ARGS)
    assert torch.load(path) == dict(iter=2)


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(ZeroDivisionError), written_whole(path) as temporary:
        temporary.write_text('half')
        raise ZeroDivisionError
    assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]
