import cv2
import numpy as np
import pytest

from mmcnv2.inference.video import VideoFile


def test_odd_sides_grow_by_a_pixel(tmp_path):
    path = tmp_path / 'sub/film.mp4'
    video = VideoFile(path, rate=30000 / 1001)
    for value in (40, 200):
        video.add(np.full((33, 47, 3), (value, 0, 0), dtype=np.uint8))
        assert not path.exists()
    video.close()
    read = cv2.VideoCapture(str(path))
    assert read.get(cv2.CAP_PROP_FPS) == pytest.approx(30000 / 1001)
    assert read.get(cv2.CAP_PROP_FRAME_COUNT) == 2
    _, frame = read.read()
    assert frame.shape == (34, 48, 3)
    np.testing.assert_allclose(frame[-1, -1].astype(int), (0, 0, 40), atol=6)  # BGR
    assert [one.name for one in path.parent.iterdir()] == ['film.mp4']


def test_abandoned_video_leaves_nothing(tmp_path):
    video = VideoFile(tmp_path / 'film.mp4', rate=0)
    video.add(np.zeros((32, 32, 3), dtype=np.uint8))
    video.abandon()
    assert list(tmp_path.iterdir()) == []
