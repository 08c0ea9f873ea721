"""The cores that a process may use."""

import os

import pytest

from mmcnv2.utils.cores import num_cores


def test_those_it_may_run_on(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _pid: {0, 3}, raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: 8)
    assert num_cores() == 2


@pytest.mark.parametrize(('found', 'expected'), [(8, 8), (None, 1)])
def test_where_the_system_cannot_say(monkeypatch, found, expected):
    monkeypatch.delattr(os, 'sched_getaffinity', raising=False)
    monkeypatch.setattr(os, 'cpu_count', lambda: found)
    assert num_cores() == expected
