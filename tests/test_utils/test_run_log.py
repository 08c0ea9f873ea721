import json

import pytest

from mmcnv2.utils.errors import MissingFileError
from mmcnv2.utils.run_log import read_log


def write(folder, run, *records, rest=''):
    path = folder / run / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, records)) + '\n' + rest)


def trained(iteration, loss):
    return dict(loss=loss, lr=0.1, data_time=0.5, time=1.0, iter=iteration, step=iteration)


def test_resumed_run_replaces_what_followed(tmp_path):
    """The first run went to iteration 40; the second began at 20, so that it logged 30 first."""
    validated = dict(mIoU=50.0, time=0.1, step=0)
    write(
        tmp_path,
        '20260101_000000',
        *(trained(i, 100.0 - i) for i in (10, 20)),
        validated,
        trained(30, 1),
        trained(40, 2),
    )
    write(
        tmp_path,
        '20260102_000000',
        trained(30, 70.0),
        trained(40, 60.0),
        dict(validated, mIoU=60.0),
        rest='{"loss": 3',
    )
    log = read_log(tmp_path)
    assert log.training['loss'] == [(10, 90.0), (20, 80.0), (30, 70.0), (40, 60.0)]
    assert log.validation == {'mIoU': [(20, 50.0), (40, 60.0)]}
    assert list(log.training) == ['loss', 'lr', 'time']


@pytest.mark.parametrize(('first', 'second'), [(20, 40), (1, 2)], ids=['by iteration', 'by epoch'])
def test_resumed_run_that_begins_with_a_validation(tmp_path, first, second):
    """The one that was interrupted; a validation says its iteration or its epoch."""
    write(tmp_path, '20260101_000000', trained(10, 5.0), trained(20, 4.0))
    validated = dict(mIoU=50.0, step=first), trained(30, 3.0), trained(40, 2.0), dict(mIoU=60.0, step=second)
    write(tmp_path, '20260102_000000', *validated)
    assert read_log(tmp_path).validation == {'mIoU': [(20, 50.0), (40, 60.0)]}


def test_new_run_in_an_old_folder(tmp_path):
    write(tmp_path, '20260101_000000', trained(10, 5.0), trained(20, 4.0))
    write(tmp_path, '20260102_000000', trained(10, 3.0))
    assert read_log(tmp_path).training['loss'] == [(10, 3.0)]


def test_validation_of_epochs_belongs_to_an_iteration(tmp_path):
    epochs = dict(trained(7, 1.0), epoch=1), {'accuracy/top1': 20.0, 'step': 1}
    write(tmp_path, '20260101_000000', *epochs)
    assert read_log(tmp_path).validation == {'accuracy/top1': [(7, 20.0)]}


def test_numbers_only(tmp_path):
    write(tmp_path, '20260101_000000', dict(trained(1, float('nan')), note='text'), trained(2, 1.0))
    assert read_log(tmp_path).training['loss'] == [(2, 1.0)]


def test_main_metrics(tmp_path):
    scores = {'coco/bbox_mAP': 0.1, 'coco/bbox_mAP_50': 0.3, 'coco/segm_mAP': 0.2}
    write(tmp_path, '20260101_000000', trained(1, 1.0), scores)
    assert read_log(tmp_path).main_metrics == ['coco/bbox_mAP', 'coco/segm_mAP']


def test_nothing_is_logged(tmp_path):
    with pytest.raises(MissingFileError, match='no run has logged anything'):
        read_log(tmp_path)
