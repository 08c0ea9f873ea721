"""What the processor can do is what torch says."""

import pytest
import torch

from mmcnv2.utils.processor import describe_processor, multiplies_bfloat16


@pytest.mark.parametrize(
    ('capabilities', 'expected', 'text'),
    [
        (dict(cpu_name='Xeon', amx_bf16=True, avx512_bf16=True), True, 'Xeon (AVX512, bfloat16 by AMX), 2 threads'),
        (
            dict(cpu_name='EPYC', amx_bf16=False, avx512_bf16=True),
            True,
            'EPYC (AVX512, bfloat16 by AVX-512), 2 threads',
        ),
        (dict(cpu_name='EPYC', amx_bf16=False, avx512_bf16=False), False, 'EPYC (AVX512, no bfloat16), 2 threads'),
        (dict(cpu_name='M1'), False, 'M1 (AVX512, no bfloat16), 2 threads'),
    ],
)
def test_capabilities(monkeypatch, capabilities, expected, text):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: capabilities)
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: 'AVX512')
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    assert multiplies_bfloat16() is expected
    assert describe_processor() == text


def test_of_this_machine():
    """The keys that are asked for exist in this version of torch, on processors of this kind."""
    if torch.cpu.get_capabilities()['architecture'] == 'x86_64':
        assert {'amx_bf16', 'avx512_bf16', 'cpu_name'} <= set(torch.cpu.get_capabilities())
    assert torch.cpu.get_capabilities()['cpu_name'] in describe_processor()
