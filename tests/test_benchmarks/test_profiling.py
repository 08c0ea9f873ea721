"""mmcnv2 profile-pretrain as a user starts it, and how it sorts operators."""

import json

import pytest
from helpers.processes import run_forked

from mmcnv2.benchmarks.profiling import kind_of


@pytest.mark.slow
def test_the_parts_add_up(root, tmp_path):
    small = ('--archs', 'atto', '--batch-sizes', 2, '--image-size', 64, '--repeats', 1, '--warmup', 1)
    done = run_forked(
        root,
        *('tools/analysis_tools/profile_pretrain.py', *small),
        *('--backends', 'torch', '--json', tmp_path / 'rows.json'),
    )
    assert done.returncode == 0, done.stderr
    assert '| arch | batch | milliseconds | plain | torch |' in done.stdout.splitlines()

    *kinds, total = json.loads((tmp_path / 'rows.json').read_text())['rows']
    assert total['milliseconds'] == 'all'
    for name in ('plain', 'torch'):
        assert total[name] == pytest.approx(sum(row[name] for row in kinds))
        by_kind = {row['milliseconds']: row[name] for row in kinds}
        for kind in ('matrix products', 'depthwise and other convolutions', 'GELU', 'LayerNorm', 'AdamW'):
            assert 0 < by_kind[kind] < total[name], kind
        assert by_kind['other'] < total[name] / 2


@pytest.mark.parametrize(
    ('operator', 'kind'),
    [
        ('aten::addmm', 'matrix products'),
        ('aten::bmm', 'matrix products'),
        ('aten::baddbmm', 'matrix products'),
        ('aten::addmv', 'matrix products'),
        ('aten::mkldnn_convolution', 'depthwise and other convolutions'),
        ('mmcnv2::masked_depthwise_conv_backward', 'depthwise and other convolutions'),
        ('aten::gelu_backward', 'GELU'),
        ('aten::native_layer_norm_backward', 'LayerNorm'),
        ('aten::_fused_adamw_', 'AdamW'),
        ('aten::index_select', 'copies, gather, scatter'),
        ('aten::linalg_vector_norm', 'sums and norms'),
        ('aten::addcmul_', 'element by element'),
        ('aten::mul', 'element by element'),
        ('autograd::engine::evaluate_function: MulBackward0', 'other'),
    ],
)
def test_kinds(operator, kind):
    assert kind_of(operator) == kind
