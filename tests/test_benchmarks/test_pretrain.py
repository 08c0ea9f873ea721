"""mmcnv2 benchmark-pretrain, and the baseline that it compares with."""

import json

import pytest
import torch
from helpers.commands import call, refusal
from helpers.models import ARCH, build_fcmae, case, double_weights, error
from helpers.processes import run_forked

from mmcnv2.benchmarks import plain_fcmae, pretrain
from mmcnv2.benchmarks.data import one_thread
from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.models.sparse import random_mask

COLUMNS = ['arch', 'batch', 'backend', 'images/s', 'speed-up', 'MiB', 'memory']
SMALL = ('--archs', 'atto', '--batch-sizes', 2, '--image-size', 64, '--repeats', 1, '--warmup', 0)
BACKENDS = ('--backends', 'dense', 'torch')


@pytest.mark.parametrize('part', ['encoder', 'whole'])
@pytest.mark.slow
def test_a_row_for_every_backend(root, tmp_path, capfd, part):
    arguments = (*SMALL, *BACKENDS, '--part', part, '--json', tmp_path / 'rows.json')
    if part == 'whole':  # as a user starts it
        done = run_forked(root, 'tools/analysis_tools/benchmark_pretrain.py', *arguments)
        assert done.returncode == 0, done.stderr
        output = done.stdout
    else:
        with one_thread():
            call('benchmark-pretrain', *arguments)
        output = capfd.readouterr().out
    header, _, *lines = [line for line in output.splitlines() if line.startswith('|')]
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


def test_a_backend_that_computes_something_else_is_not_timed(monkeypatch):
    build = pretrain.build

    def build_wrongly(name, arch, weights, device):
        model = build(name, arch, weights, device)
        if name == 'torch':
            with torch.no_grad():
                model.backbone.stages[3][0].pwconv2.bias += 0.1
        return model

    monkeypatch.setattr(pretrain, 'build', build_wrongly)
    monkeypatch.setitem(ARCHITECTURES, 'atto', ARCH)
    workload = pretrain.Workload('encoder', 64, 0.6, 'cpu', 'fp32')
    with one_thread(), pytest.raises(RuntimeError, match=r'the loss of torch is .*, that of plain '):
        pretrain.compare('atto', 1, ['dense', 'torch'], workload, repeats=1, warmup=0)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--image-size', 100), '--image-size must be positive and divisible by 32, got 100'),
        (('--batch-sizes', 1, 2, 3), "--batch-sizes takes one number, or one for each of ['atto', 'tiny'], got [1, 2"),
        (('--batch-sizes', 0), '--batch-sizes must be positive, got [0]'),
        (('--mask-ratio', 1.5), 'mask_ratio must lie between 0 and 1, both excluded, got 1.5'),
        (('--image-size', 32), 'images of at least two 32x32 patches, got a grid of 1x1'),
        (('--repeats', 0), '--repeats must be positive, got 0'),
        (('--warmup', -1), '--warmup must be at least 0, got -1'),
        (
            ('--archs', 'tiny', 'small'),
            "--archs must be one of atto, femto, pico, nano, tiny, base, large, huge, got 's",
        ),
        (('--backends', 'cuda'), "--backends must be one of auto, dense, spconv, torch, triton, got 'cuda'"),
        (('--dtype', 'fp64'), "--dtype must be one of fp32, bf16, fp16, got 'fp64'"),
        (('--device', 'cuda:99'), '--device must be one of auto, cpu'),
    ],
)
@pytest.mark.parametrize('command', ['benchmark-pretrain', 'profile-pretrain'])
def test_bad_arguments(command, arguments, message):
    assert message in refusal(command, *arguments)


def test_the_baseline_computes_the_same():
    """Loss and all gradients of our model, in float64."""
    _, images, mask = case('square')
    model = build_fcmae(ARCH, decoder_embed_dims=12).double()
    baseline = plain_fcmae.FCMAE(**ARCH, decoder_embed_dims=12).double()
    baseline.load_state_dict(double_weights(model))

    losses = [model.loss(images, mask=mask)['loss'], baseline(images, mask)]
    assert error(losses[1].detach(), losses[0].detach()) < 1e-12
    for loss in losses:
        loss.backward()
    expected = dict(model.named_parameters())
    for name, parameter in baseline.named_parameters():
        assert error(parameter.grad, expected[name].grad) < 1e-9, name


def test_the_baseline_keeps_what_its_modules_keep():
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
