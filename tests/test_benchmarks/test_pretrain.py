"""tools/analysis_tools/benchmark_pretrain.py started as a user starts it, and the yardstick that it compares with."""

import json
import subprocess
import sys

import pytest
import torch
from helpers.models import ARCH, build_fcmae, case, double_weights, error

from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.models.sparse import random_mask

COLUMNS = ['arch', 'batch', 'backend', 'images/s', 'speed-up', 'MiB', 'memory']


def benchmark(root, *arguments):
    command = [sys.executable, 'tools/analysis_tools/benchmark_pretrain.py', *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize('part', ['encoder', 'whole'])
def test_a_row_for_every_backend(root, tmp_path, part):
    small = ('--archs', 'atto', '--batch-sizes', 2, '--image-size', 64, '--repeats', 1, '--warmup', 0)
    backends = ('--backends', 'dense', 'torch')
    run = benchmark(root, *small, *backends, '--part', part, '--json', tmp_path / 'rows.json')
    assert run.returncode == 0, run.stderr
    header, _, *lines = [line for line in run.stdout.splitlines() if line.startswith('|')]
    assert [cell.strip() for cell in header.strip('|').split('|')] == COLUMNS
    assert len(lines) == 3

    report = json.loads((tmp_path / 'rows.json').read_text())
    assert report['environment']['torch'] == torch.__version__
    assert report['step'].startswith(f'{part}, fp32, 64 px, mask ratio 0.6')
    plain, dense, tokens = report['rows']
    assert [row['backend'] for row in report['rows']] == ['plain', 'dense', 'torch']
    for row in report['rows']:
        assert row['speed-up'] == pytest.approx(row['images/s'] / plain['images/s'])
        assert row['memory'] == pytest.approx(row['MiB'] / plain['MiB'])
    assert dense['memory'] < 0.7
    assert tokens['memory'] < dense['memory']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--image-size', 100), '--image-size must be positive and divisible by 32, got 100'),
        (('--batch-sizes', 1, 2, 3), '--batch-sizes takes one positive number, or one for each of'),
        (('--batch-sizes', 0), '--batch-sizes takes one positive number'),
        (('--mask-ratio', 1.5), '--mask-ratio: '),
        (('--repeats', 0), '--repeats must be at least 1'),
        (('--backends', 'cuda'), "invalid choice: 'cuda'"),
    ],
)
def test_bad_arguments(root, arguments, message):
    run = benchmark(root, *arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert 'Traceback' not in run.stderr


@pytest.fixture
def plain_fcmae(root, monkeypatch):
    monkeypatch.syspath_prepend(root / 'tools/analysis_tools')
    return __import__('plain_fcmae')


def test_the_yardstick_computes_the_same(plain_fcmae):
    """Loss and all gradients of our model, in float64."""
    _, images, mask = case('square')
    model = build_fcmae(ARCH, decoder_embed_dims=12).double()
    yardstick = plain_fcmae.FCMAE(**ARCH, decoder_embed_dims=12).double()
    yardstick.load_state_dict(double_weights(model))

    losses = [model.loss(images, mask=mask)['loss'], yardstick(images, mask)]
    assert error(losses[1].detach(), losses[0].detach()) < 1e-12
    for loss in losses:
        loss.backward()
    expected = dict(model.named_parameters())
    for name, parameter in yardstick.named_parameters():
        assert error(parameter.grad, expected[name].grad) < 1e-9, name


def test_the_yardstick_keeps_what_its_modules_keep(plain_fcmae):
    """Per position and channel: 19 and a little, as autograd keeps for a block written with modules."""
    arch = ARCHITECTURES['atto']
    model = plain_fcmae.FCMAE(**arch)
    block = model.backbone.stages[0][0]
    kept = {}
    x = torch.randn(1, arch['channels'][0], 56, 56).contiguous(memory_format=torch.channels_last).requires_grad_()
    keep = plain_fcmae.upsample(random_mask(1, (7, 7), 0.6), x)
    weights = {p.data_ptr() for p in block.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.update({t.data_ptr(): t}) or t, lambda t: t):
        block(x, keep)
    values = sum(t.untyped_storage().nbytes() // 4 for pointer, t in kept.items() if pointer not in weights)
    assert 15 < values / x.numel() < 25
