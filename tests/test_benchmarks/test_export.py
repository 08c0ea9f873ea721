"""mmcnv2 benchmark-export as a user starts it."""

import json

import pytest
from helpers import whole_models
from helpers.commands import call, refusal

from mmcnv2.benchmarks import export


@pytest.mark.slow
def test_a_row_for_every_runtime(tmp_path, capsys, monkeypatch):
    cfg, checkpoint = whole_models.fcn(tmp_path)
    cfg.dump(tmp_path / 'fcn.py')
    # Compiling takes half a minute: what does not run here is left out, and said.
    monkeypatch.setattr(export.torch, 'compile', lambda module: lambda images: 1 / 0)
    small = ('--image-sizes', 64, 96, '--repeats', 1, '--warmup', 0, '--json', tmp_path / 'rows.json')
    call('benchmark-export', tmp_path / 'fcn.py', '--checkpoints', checkpoint, *small)
    rows = json.loads((tmp_path / 'rows.json').read_text())['rows']
    assert [(row['size'], row['runtime']) for row in rows] == [
        *((64, 'eager'), (64, 'onnxruntime')),
        *((96, 'eager'), (96, 'onnxruntime')),
    ]
    for eager, other in (rows[:2], rows[2:]):
        assert other['faster than eager by'] == pytest.approx(eager['ms'] / other['ms'])
    assert 'compile is left out: ZeroDivisionError' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--image-sizes', 100), '--image-sizes must be positive and divisible by 32, got 100'),
        (('--runtimes', 'other'), '--runtimes must be one of eager, compile, onnxruntime'),
        (('--checkpoints', 'a', 'b'), '--checkpoints takes one for each of the 1 configs'),
        (('--warmup', -1), '--warmup must be at least 0, got -1'),
    ],
)
def test_bad_arguments(arguments, message):
    assert message in refusal('benchmark-export', 'a.py', *arguments)
