"""mmcnv2 benchmark-backbone as a user starts it."""

import json

import pytest
from helpers.commands import refusal
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


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--image-sizes', 64, 100), '--image-sizes must be positive and divisible by 32, got 100'),
        (('--batch-size', 0), '--batch-size must be positive, got 0'),
        (('--against', 'other'), "--against must be one of plain, mmcnv2, timm, mmpretrain, got 'other'"),
        (('--archs', 'other'), '--archs must be one of atto, '),
        (('--repeats', 0), '--repeats must be positive, got 0'),
    ],
)
def test_bad_arguments(arguments, message):
    assert message in refusal('benchmark-backbone', *arguments)
