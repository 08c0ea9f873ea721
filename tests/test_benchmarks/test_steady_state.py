"""mmcnv2 steady-state: slopes by hand, and a short run."""

import json
import re

import cv2
import pytest
from helpers.commands import refusal
from helpers.processes import run_forked

from mmcnv2.benchmarks.steady_state import summary


def test_slopes_begin_after_the_warm_up():
    """Memory doubles at the start, then grows by 0.03 MB an iteration; a file stays open every 50 iterations."""
    rows = [(i, 500 + 0.03 * i if i > 100 else 5 * i, 20 + i // 50, 1.0) for i in range(10, 1001, 10)]
    result = summary(rows, warmup=100)
    assert result['memory_slope'] == pytest.approx(3.0)
    assert (result['memory_min'], result['memory_max']) == pytest.approx((500 + 0.03 * 110, 530))
    assert result['files_slope'] == pytest.approx(2.0, rel=0.01)
    assert (result['files_min'], result['files_max']) == (22, 40)
    assert result['loss_finite'] and result['iterations'] == 1000


def test_one_loss_that_is_not_finite_is_reported():
    rows = [(i, 500.0, 20, float('nan') if i == 20 else 1.0) for i in range(10, 201, 10)]
    assert not summary(rows, warmup=100)['loss_finite']


@pytest.mark.slow
def test_a_short_run(root, toy_scenes, tmp_path):
    done = run_forked(
        root,
        *('tools/analysis_tools/steady_state.py',),
        *('configs/toy/fcmae_convnextv2-atto_toy-scenes.py', '--work-dir', tmp_path / 'w'),
        *('--iterations', '40', '--warmup', '20', '--picture', tmp_path / 'a.png', '--json', tmp_path / 'a.json'),
        *('--cfg-options', f'train_dataloader.dataset.data_root={toy_scenes}/unlabelled'),
        'train_dataloader.batch_size=2',
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / 'a.json').read_text())
    assert [row[0] for row in rows] == [10, 20, 30, 40]
    # One process with torch in it and one worker: some hundred MB, some ten files.
    assert all(200 < memory < 5000 and 10 < files < 500 and 0.5 < loss < 2 for _, memory, files, loss in rows)
    printed = dict(re.findall(r'^(\w+): (\S+)$', done.stdout, re.MULTILINE))
    assert printed['iterations'] == '40' and printed['loss_finite'] == 'True'
    assert cv2.imread(str(tmp_path / 'a.png')).shape == (600, 800, 3)


def test_too_few_iterations_are_refused():
    message = refusal('steady-state', 'x.py', '--iterations', 100)
    assert message == 'error: --iterations must be at least --warmup + 20 = 520, got 100'
