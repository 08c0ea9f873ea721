import json
import logging
from types import SimpleNamespace

import cv2
import pytest

from mmcnv2.engine.hooks import CurvesHook
from mmcnv2.engine.sparing import spare


@pytest.fixture
def runner(tmp_path):
    scalars = tmp_path / '20260101_000000/vis_data/scalars.json'
    scalars.parent.mkdir(parents=True)
    scalars.write_text(json.dumps(dict(loss=1.0, iter=10)) + '\n')
    return SimpleNamespace(work_dir=str(tmp_path))


def test_drawn_after_validations_and_at_the_end(runner, tmp_path):
    picture = tmp_path / 'curves.png'
    hook = CurvesHook(seconds=3600)
    hook.after_val_epoch(runner, {})
    assert cv2.imread(str(picture)).shape[2] == 3
    for method in (hook.after_val_epoch, hook.after_train_epoch):  # too early for another
        picture.unlink(missing_ok=True)
        method(runner)
        assert not picture.exists()
    hook.after_train(runner)
    assert picture.exists()


def test_nothing_is_logged(tmp_path):
    CurvesHook().after_train(SimpleNamespace(work_dir=str(tmp_path)))
    assert not (tmp_path / 'curves.png').exists()


def test_failure_is_a_warning(runner, tmp_path, caplog):
    (tmp_path / 'curves.png').mkdir()  # cannot be replaced by a file
    hook = CurvesHook()
    spare(hook, ('after_',))
    with caplog.at_level(logging.WARNING, 'current'):
        hook.after_train(runner)
    assert (tmp_path / 'curves.png').is_dir()
