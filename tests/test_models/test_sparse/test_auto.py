"""Which backend ``auto`` takes, and what it says about it."""

import logging

import pytest
import torch
from helpers.models import case

from mmcnv2.models.sparse import make_layout
from mmcnv2.models.sparse.backends import auto, triton
from mmcnv2.models.sparse.backends import torch as plain_torch

CPU = torch.device('cpu')


@pytest.fixture
def choose(monkeypatch):
    """``auto.choose`` that has not chosen yet, with triton a candidate on the CPU (under its interpreter)."""
    monkeypatch.setattr(auto, 'CANDIDATES', dict(cpu=('triton',)))
    auto.choose.cache_clear()
    yield auto.choose
    auto.choose.cache_clear()


@pytest.fixture
def log(monkeypatch):
    """What is logged, (level, message)."""
    lines = []
    monkeypatch.setattr(auto, 'print_log', lambda message, logger, level=logging.INFO: lines.append((level, message)))
    return lines


def test_plain_torch_on_a_cpu_and_said_once(log):
    auto.choose.cache_clear()
    layout = make_layout(case('square')[2], 'auto')
    x, weight = torch.randn(2, 4 * 4, 3), torch.randn(3, 1, 7, 7)
    results = [auto.depthwise_conv(x, weight, None, layout) for _ in range(2)]
    assert log == [(logging.INFO, "sparse_backend='auto': torch on cpu")]
    expected = plain_torch.depthwise_conv(x, weight, None, layout)
    assert all(torch.equal(result, expected) for result in results)


def test_a_gpu_has_triton_tried_first():
    assert auto.CANDIDATES['cuda'][0] == 'triton'


def test_a_faster_one_that_works(choose, log):
    with torch.inference_mode(), torch.autocast('cpu'):
        assert choose(CPU) is triton.depthwise_conv
    assert log == [(logging.INFO, "sparse_backend='auto': triton on cpu")]


@pytest.mark.parametrize(
    'broken, reason',
    [
        (lambda x, *_: 1 / 0, 'ZeroDivisionError: division by zero'),
        (lambda *args: 1.05 * plain_torch.depthwise_conv(*args), 'the output is wrong'),
        (lambda *args: torch.nan * plain_torch.depthwise_conv(*args), 'the output is wrong'),
        (
            lambda x, w, b, layout: plain_torch.depthwise_conv(x, w.detach() + 0 * w, b, layout),
            'the gradient of the weight is wrong',
        ),
        (
            lambda x, w, b, layout: plain_torch.depthwise_conv(x.detach() + 0 * x, w, b, layout),
            'the gradient of x is wrong',
        ),
    ],
)
def test_a_faster_one_that_does_not_work_is_passed_over_with_the_reason(choose, monkeypatch, log, broken, reason):
    monkeypatch.setattr(triton, 'depthwise_conv', broken)
    assert choose(CPU) is plain_torch.depthwise_conv
    warning, chosen = log
    assert warning[0] == logging.WARNING
    assert 'triton does not work on cpu' in warning[1]
    assert reason in warning[1]
    assert chosen == (logging.INFO, "sparse_backend='auto': torch on cpu")


def test_a_faster_one_that_is_not_installed(choose, monkeypatch):
    def load(name):
        if name == 'triton':
            raise ImportError('needs triton')
        return plain_torch.depthwise_conv

    monkeypatch.setattr(auto, 'load_backend', load)
    assert choose(CPU) is plain_torch.depthwise_conv


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:Dynamo')
def test_compiled_in_one_graph_once_chosen(choose):
    torch.compiler.reset()
    layout = make_layout(case('square')[2], 'auto')
    x, weight, bias = torch.randn(2, 4 * 4, 3), torch.randn(3, 1, 7, 7), torch.randn(3)
    expected = auto.depthwise_conv(x, weight, bias, layout)
    compiled = torch.compile(auto.depthwise_conv, backend='aot_eager', fullgraph=True)
    assert torch.equal(compiled(x, weight, bias, layout), expected)
