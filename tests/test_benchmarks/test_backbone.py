"""tools/analysis_tools/benchmark_backbone.py started as a user starts it."""

import json
import subprocess
import sys

import pytest

COLUMNS = ['arch', 'size', 'batch', 'network', 'images/s', 'mmcnv2 is faster by', 'MiB', 'mmcnv2 keeps']


def benchmark(root, *arguments):
    command = [sys.executable, 'tools/analysis_tools/benchmark_backbone.py', *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


def test_a_row_for_every_network(root, tmp_path):
    small = ('--archs', 'atto', '--image-sizes', 64, 128, '--repeats', 1, '--warmup', 0)
    run = benchmark(root, *small, '--against', 'plain', '--json', tmp_path / 'rows.json')
    assert run.returncode == 0, run.stderr
    header, _, *lines = [line for line in run.stdout.splitlines() if line.startswith('|')]
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


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--image-sizes', 100), '--image-sizes must be positive and divisible by 32, got 100'),
        (('--batch-size', 0), '--batch-size must be at least 1, got 0'),
        (('--against', 'other'), "invalid choice: 'other'"),
    ],
)
def test_bad_arguments(root, arguments, message):
    run = benchmark(root, *arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert 'Traceback' not in run.stderr
