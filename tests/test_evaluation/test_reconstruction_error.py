import pytest

from mmcnv2.evaluation import ReconstructionError


def test_mean_over_images_of_unequal_batches():
    metric = ReconstructionError()
    for errors in ([1.0, 2.0, 3.0], [6.0]):
        metric.process({}, [dict(reconstruction_error=error) for error in errors])
    assert metric.evaluate(size=4) == {'fcmae/reconstruction_error': pytest.approx(3.0)}
