"""What ``mmcnv2 test`` refuses before anything is built; tests/test_tools/test_train_and_test.py evaluates."""

import pytest
from helpers.commands import refusal

CONFIG = "default_scope = 'mmdet'\nmodel = dict()\n"
TEST = "test_dataloader = dict(dataset=dict())\ntest_evaluator = dict(type='CocoMetric')\n"


@pytest.mark.parametrize(
    ('config', 'options', 'message'),
    [
        (CONFIG, ['--tta'], 'has no test_dataloader or no test_evaluator'),
        (CONFIG + TEST, ['--tta'], '--tta needs tta_model and tta_pipeline in the config'),
        (CONFIG + TEST, ['--out', 'a.csv'], '--out must be a .pkl file (all predictions), a .json file'),
    ],
)
def test_refused(config, options, message, tmp_path):
    path = tmp_path / 'a.py'
    path.write_text(config)
    assert message in refusal('test', path, 'checkpoint.pth', *options)
