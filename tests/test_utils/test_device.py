import pytest
import torch

from mmcnv2.utils.device import choose_device
from mmcnv2.utils.errors import InputError


def test_only_devices_that_torch_sees(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    names = ('auto', 'cpu', 'cuda', 'cuda:1')
    assert [choose_device(name) for name in names] == ['cuda', 'cpu', 'cuda', 'cuda:1']
    with pytest.raises(InputError, match=r"one of auto, cpu, cuda, cuda:0, cuda:1 .*, got 'cuda:2'"):
        choose_device('cuda:2')

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert choose_device('auto') == 'cpu'
    with pytest.raises(InputError, match=r"one of auto, cpu \(.*\), got 'cuda'"):
        choose_device('cuda')
