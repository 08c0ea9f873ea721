"""One part of a model is compiled when training starts."""

import pytest
import torch
from helpers.small_run import build_runner
from helpers.training import load
from torch import nn

from mmcnv2.utils.errors import ConfigError


class Layers(nn.Sequential):
    """A class of our own: torch compiles none of torch.nn by itself."""

    def forward(self, x):
        return super().forward(x)


def test_the_part_is_compiled_and_nothing_else_changes(tmp_path):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    torch.compiler.reset()
    hook = dict(type='mmcnv2.CompileHook', submodule='layers', backend=backend)
    for name, hooks in (('compiled', [hook, dict(type='EMAHook')]), ('eager', [dict(type='EMAHook')])):
        runner = build_runner(tmp_path / name, iterations=3, hooks=hooks)
        runner.model.layers = Layers(*runner.model.layers)
        runner.train()
    assert len(compiled) == 1  # one graph for all iterations
    one, other = (load(tmp_path / name / 'iter_3.pth')['state_dict'] for name in ('compiled', 'eager'))
    assert list(one) == list(other)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ('submodule', 'message'),
    [
        (None, "the model has no 'backbone', but .*layers"),
        ('layers', 'torch leaves a Sequential of its own as it is'),
    ],
)
def test_parts_that_cannot_be(tmp_path, submodule, message):
    runner = build_runner(tmp_path, iterations=3, hooks=[dict(type='mmcnv2.CompileHook', submodule=submodule)])
    with pytest.raises(ConfigError, match=rf'CompileHook\.submodule: {message}'):
        runner.train()
