"""mmcnv2 compare-precision: differences by hand, and a short run."""

import json
import re

import cv2
import pytest
from helpers.processes import run_forked

from mmcnv2.benchmarks.precision import relative_differences


def test_differences_are_those_of_means_of_twenty():
    reference = [2.0] * 20 + [1.0] * 20 + [4.0] * 5
    losses = [2.0] * 19 + [4.0] + [0.9] * 20 + [4.0] * 5
    assert relative_differences(losses, reference) == pytest.approx([0.05, 0.1, 0.0])


@pytest.mark.slow
def test_a_short_run(root, toy_scenes, tmp_path):
    """The first losses differ by rounding alone, since weights, images and masks are the same."""
    done = run_forked(
        root,
        *('tools/analysis_tools/compare_precision.py', 'configs/toy/fcmae_convnextv2-atto_toy-scenes.py'),
        *('--work-dir', tmp_path / 'w', '--iterations', '4'),
        *('--picture', tmp_path / 'a.png', '--json', tmp_path / 'a.json'),
        *('--cfg-options', f'train_dataloader.dataset.data_root={toy_scenes}/unlabelled'),
        *('train_dataloader.batch_size=2', 'train_dataloader.num_workers=0'),
        'train_dataloader.persistent_workers=False',
    )
    assert done.returncode == 0, done.stderr[-2000:]
    losses = json.loads((tmp_path / 'a.json').read_text())
    assert list(losses) == ['float32', 'bfloat16']
    for actual, expected in zip(losses['bfloat16'], losses['float32'], strict=True):
        assert actual == pytest.approx(expected, rel=1e-2)
    assert losses['bfloat16'] != losses['float32'], 'computed in bfloat16'
    assert len(set(losses['float32'])) == 4
    assert re.search(r'^largest difference: 0\.\d{3}%$', done.stdout, re.MULTILINE)
    assert cv2.imread(str(tmp_path / 'a.png')).shape == (600, 800, 3)
