"""mmcnv2 benchmark-backbone as a user starts it."""

import json

import pytest
import torch
from helpers.commands import refusal
from helpers.models import ARCH
from helpers.processes import run_forked

from mmcnv2.benchmarks import backbone

COLUMNS = ['arch', 'size', 'batch', 'network', 'images/s', 'mmcnv2 is faster by', 'MiB', 'mmcnv2 keeps']


@pytest.mark.slow
def test_a_row_for_every_network(root, tmp_path):
    small = ('--archs', 'atto', '--image-sizes', 64, 128, '--repeats', 1, '--warmup', 0)
    done = run_forked(
        root,
        *('tools/analysis_tools/benchmark_backbone.py', *small),
        *('--against', 'plain', '--json', tmp_path / 'rows.json'),
    )
    assert done.returncode == 0, done.stderr
    header, _, *lines = [line for line in done.stdout.splitlines() if line.startswith('|')]
    assert [cell.strip() for cell in header.strip('|').split('|')] == COLUMNS
    assert len(lines) == 4

    rows = json.loads((tmp_path / 'rows.json').read_text())['rows']
    assert [(row['size'], row['network']) for row in rows] == [
        *((64, 'mmcnv2'), (64, 'plain')),
        *((128, 'mmcnv2'), (128, 'plain')),
    ]
    for ours, plain in (rows[:2], rows[2:]):
        assert plain['mmcnv2 is faster by'] == pytest.approx(ours['images/s'] / plain['images/s'])
        assert plain['mmcnv2 keeps'] == pytest.approx(ours['MiB'] / plain['MiB'])
    assert plain['mmcnv2 keeps'] < 0.45


def test_what_cannot_be_built_is_left_out(monkeypatch, capsys):
    def absent(arch):
        raise ImportError(f'no network {arch}')

    monkeypatch.setitem(backbone.IMPLEMENTATIONS, 'timm', absent)
    assert backbone.installed(['mmcnv2', 'timm', 'plain'], 'atto') == ['mmcnv2', 'plain']
    assert capsys.readouterr().err == 'timm is left out: ImportError: no network atto\n'


def small(monkeypatch, wrongly=False):
    """A tiny plain network under the names of two packages, compiled by tracing alone, or to something else."""
    monkeypatch.setitem(backbone.ARCHITECTURES, 'atto', ARCH)
    monkeypatch.setitem(backbone.IMPLEMENTATIONS, 'timm', backbone.plain)

    def compiled(name, function):
        if not name.endswith('-compiled'):
            return function
        return (lambda x: [2 * map_ for map_ in function(x)]) if wrongly else torch.compile(function, backend='eager')

    monkeypatch.setattr(backbone, 'as_named', compiled)
    return torch.randn(1, 3, 64, 64)


def test_inference_keeps_nothing(monkeypatch):
    """Networks are in evaluation mode, without gradients; on a CPU no memory can be told then."""
    images, modes = small(monkeypatch), set()

    def watched(arch):
        model = backbone.plain(arch)
        model.register_forward_hook(lambda module, *_: modes.add((module.training, torch.is_inference_mode_enabled())))
        return model

    monkeypatch.setitem(backbone.IMPLEMENTATIONS, 'timm', watched)
    ours, other = backbone.compare('atto', images, ['mmcnv2', 'timm'], 'fp32', 1, 0, inference=True)
    assert modes == {(False, True)}
    assert other['mmcnv2 is faster by'] == pytest.approx(ours['images/s'] / other['images/s'])
    assert ours['MiB'] == ours['mmcnv2 keeps'] == other['mmcnv2 keeps'] == '-'


def test_compiled_ones_are_compared_with_themselves(monkeypatch):
    """Also where the eager one is not measured."""
    images = small(monkeypatch)
    rows = backbone.compare('atto', images, ['mmcnv2', 'mmcnv2-compiled', 'timm-compiled'], 'fp32', 1, 0)
    assert [row['network'] for row in rows] == ['mmcnv2', 'mmcnv2-compiled', 'timm-compiled']
    assert all(row['images/s'] > 0 for row in rows)

    small(monkeypatch, wrongly=True)
    with pytest.raises(RuntimeError, match=r'timm-compiled gives .*, timm .*: they compute different maps'):
        backbone.compare('atto', images, ['mmcnv2', 'timm-compiled'], 'fp32', 1, 0)


def test_what_does_not_fit_costs_its_own_row(monkeypatch):
    images = small(monkeypatch)

    class Step(backbone.Step):
        def __init__(self, name, *args):
            super().__init__(name, *args)
            self.name = name

        def __call__(self):
            if self.name == 'plain':
                raise torch.OutOfMemoryError
            return super().__call__()

    monkeypatch.setattr(backbone, 'Step', Step)
    ours, plain, timm = backbone.compare('atto', images, ['mmcnv2', 'plain', 'timm'], 'fp32', 1, 0)
    assert plain['images/s'] == plain['MiB'] == 'does not fit' and plain['mmcnv2 keeps'] == '-'
    assert timm['mmcnv2 is faster by'] == pytest.approx(ours['images/s'] / timm['images/s'])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--image-sizes', 64, 100), '--image-sizes must be positive and divisible by 32, got 100'),
        (('--batch-size', 0), '--batch-size must be positive, got 0'),
        (
            ('--against', 'other'),
            '--against must be one of plain, mmcnv2, timm, mmpretrain, plain-compiled, mmcnv2-compiled, timm-',
        ),
        (('--archs', 'other'), '--archs must be one of atto, '),
        (('--repeats', 0), '--repeats must be positive, got 0'),
    ],
)
def test_bad_arguments(arguments, message):
    assert message in refusal('benchmark-backbone', *arguments)
