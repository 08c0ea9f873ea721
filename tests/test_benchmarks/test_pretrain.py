"""mmcnv2 benchmark-pretrain, and the baseline that it compares with."""

import json

import pytest
import torch
from helpers.commands import call, refusal
from helpers.models import ARCH, build_fcmae, case, double_weights, error
from helpers.processes import run_forked

from mmcnv2.benchmarks import measure, plain_fcmae, pretrain
from mmcnv2.benchmarks.data import one_thread
from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.models.sparse import random_mask
from mmcnv2.utils.errors import InputError

COLUMNS = ['arch', 'batch', 'dtype', 'backend', 'images/s', 'speed-up', 'of product', 'MiB', 'memory']
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
    assert report['step'].startswith(f'{part}, 64 px, mask ratio 0.6')
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
        pretrain.compare('atto', 1, ['dense', 'torch'], [workload], repeats=1, warmup=0)


def test_types_are_compared_with_the_baseline_in_the_first(monkeypatch):
    monkeypatch.setattr(pretrain, 'PRODUCT', 64)  # in emulated bfloat16, 2048 takes a minute
    monkeypatch.setitem(ARCHITECTURES, 'atto', ARCH)
    workloads = [pretrain.Workload('encoder', 64, 0.6, 'cpu', dtype) for dtype in ('fp32', 'bf16')]
    with one_thread():
        rows = pretrain.compare('atto', 2, ['torch'], workloads, repeats=1, warmup=0)
    expected = [(dtype, name) for dtype in ('fp32', 'bf16') for name in ('plain', 'torch')]
    assert [(row['dtype'], row['backend']) for row in rows] == expected
    plain, tokens, _, in_bfloat16 = rows
    assert in_bfloat16['speed-up'] == pytest.approx(in_bfloat16['images/s'] / plain['images/s'])
    assert in_bfloat16['memory'] == pytest.approx(in_bfloat16['MiB'] / plain['MiB'])
    # One of four patches is visible, and the encoder has a quarter of the multiply-adds.
    share = (tokens['of product'] / tokens['images/s']) / (plain['of product'] / plain['images/s'])
    assert share == pytest.approx(0.25)


@pytest.fixture
def traced(monkeypatch):
    """torch.compile by tracing alone, without a C++ compiler; the graphs that it got."""
    graphs = []

    def backend(module, inputs):
        graphs.append(module)
        return module.forward

    monkeypatch.setattr(measure, 'COMPILER', backend)
    monkeypatch.setitem(ARCHITECTURES, 'atto', ARCH)
    torch.compiler.reset()
    return graphs


def test_the_baseline_compiled(traced):
    """One graph for loss and encoder; it trains: the same row as the baseline, with a time of its own."""
    workload = pretrain.Workload('whole', 64, 0.6, 'cpu', 'fp32')
    with one_thread():
        plain, compiled = pretrain.compare('atto', 2, ['plain-compiled'], [workload], repeats=1, warmup=0)
    assert len(traced) >= 1
    assert [row['backend'] for row in (plain, compiled)] == ['plain', 'plain-compiled']
    # The same multiply-adds.
    products = [row['of product'] / row['images/s'] for row in (plain, compiled)]
    assert products[1] == pytest.approx(products[0])


def test_what_does_not_fit_or_is_not_installed_costs_its_own_row(monkeypatch, capsys):
    """The baseline and dense alone need too much memory, auto needs too much beside the others."""
    made = []

    class Step(pretrain.Step):
        def __init__(self, name, *args):
            made.append(name)
            if name == 'spconv':
                raise ImportError('needs spconv')
            super().__init__(name, *args)
            self.fits = name not in ('plain', 'dense', 'auto') or (name == 'auto' and made.count(name) == 1)

        def __call__(self):
            if not self.fits:
                raise torch.OutOfMemoryError
            return super().__call__()

    monkeypatch.setattr(pretrain, 'Step', Step)
    monkeypatch.setitem(ARCHITECTURES, 'atto', ARCH)
    workload = pretrain.Workload('encoder', 64, 0.6, 'cpu', 'fp32')
    with one_thread():
        rows = pretrain.compare('atto', 1, ['dense', 'torch', 'spconv', 'auto'], [workload], repeats=1, warmup=0)
    assert [row['backend'] for row in rows] == ['plain', 'dense', 'torch', 'auto']
    plain, dense, tokens, auto = rows
    assert plain['images/s'] == dense['images/s'] == dense['MiB'] == 'does not fit'
    assert tokens['images/s'] > 0 and tokens['speed-up'] == tokens['memory'] == '-'
    assert auto['images/s'] == 'does not fit beside the others' and auto['MiB'] > 0
    assert capsys.readouterr().err == 'spconv is left out: needs spconv\n'


@pytest.mark.slow
def test_mmpretrains_spark():
    workload = pretrain.Workload('whole', 64, 0.6, 'cpu', 'fp32')
    with one_thread():
        _, spark = pretrain.compare('atto', 1, ['spark'], [workload], repeats=1, warmup=0)
    assert (spark['backend'], spark['of product']) == ('spark', '-')
    assert spark['images/s'] > 0 and spark['MiB'] > 0


def test_a_step_of_the_products_speed_has_a_share_of_one(monkeypatch):
    """A step of as many multiply-adds as the product, which takes as long."""
    monkeypatch.setattr(pretrain, '_macs', lambda *_: pretrain.PRODUCT**3)
    monkeypatch.setattr(pretrain, 'seconds_per_step', lambda steps, *_: dict.fromkeys(steps, 2.0))
    monkeypatch.setitem(ARCHITECTURES, 'atto', ARCH)
    workload = pretrain.Workload('encoder', 64, 0.6, 'cpu', 'fp32')
    with one_thread():
        rows = pretrain.compare('atto', 1, ['torch'], [workload], repeats=1, warmup=0)
    assert [row['of product'] for row in rows] == [1, 1]


def test_the_encoder_of_spark_is_not_measured():
    message = refusal('benchmark-pretrain', '--backends', 'spark', '--part', 'encoder')
    assert '--backends spark needs --part whole' in message


def test_emulated_types(monkeypatch, capsys):
    monkeypatch.setattr(measure, 'multiplies_bfloat16', lambda: False)
    measure.warn_of_slow_types('cpu', ['fp32'])
    assert not capsys.readouterr().err
    measure.warn_of_slow_types('cpu', ['fp32', 'bf16'])
    assert 'bf16 is emulated on ' in capsys.readouterr().err
    with pytest.raises(InputError, match='--dtype fp16 is for GPUs: take bf16 or fp32 on a CPU'):
        measure.warn_of_slow_types('cpu', ['fp16'])


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
        (('--backends', 'cuda'), '--backends must be one of auto, dense, spconv, torch, triton'),
        (('--dtype', 'fp64'), "--dtype must be one of fp32, bf16, fp16, got 'fp64'"),
        (('--device', 'cuda:99'), 'device must be one of auto, cpu'),
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
