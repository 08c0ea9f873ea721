"""What the benchmarks share: medians of interleaved steps, memory that backward needs, tables."""

import json

import torch
from torch import nn

from mmcnv2.benchmarks import measure


def test_steps_take_turns_and_the_median_counts(monkeypatch):
    now, calls = [0.0], []
    durations = dict(a=iter([99, 3, 1, 50]), b=iter([99, 5, 6, 4]))  # the first is the warm-up
    monkeypatch.setattr(measure.time, 'perf_counter', lambda: now[0])

    def step(name):
        calls.append(name)
        now[0] += next(durations[name])

    steps = {name: lambda name=name: step(name) for name in 'ab'}
    assert measure.seconds_per_step(steps, repeats=3, warmup=1, device='cpu') == dict(a=3, b=5)
    assert calls == ['a', 'b'] * 4


def test_memory_is_what_backward_needs_without_the_weights():
    """A linear layer keeps its input, ReLU its output; a tensor that is kept twice counts once."""
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 128))
    x = torch.randn(1024, 256)

    def step():
        y = model[1](model[0](x))
        (model[2](y) * 1).sum().backward()

    assert measure.memory(step, model, 'cpu') == 1024 * (256 + 512) * 4 / 2**20


def test_a_table_is_printed_and_written_row_by_row(tmp_path, capsys):
    path = tmp_path / 'rows.json'
    table = measure.Table(['name', 'ratio'], str(path), machine='one')
    assert capsys.readouterr().out == 'machine: one\n\n| name | ratio |\n| --- | --- |\n'
    for count, (ratio, text) in enumerate([(1.23456, '1.23'), (1234.5, '1234'), (7, '7')], 1):
        table.add(name='a', ratio=ratio)
        assert capsys.readouterr().out == f'| a | {text} |\n'
        written = json.loads(path.read_text())
        assert written['machine'] == 'one'
        assert [row['ratio'] for row in written['rows']][-1] == ratio
        assert len(written['rows']) == count
