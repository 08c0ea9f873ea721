"""What a report says of a model that answers as told."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from mmcnv2.inference import Detections
from mmcnv2.report.findings import _evaluate_detector, _Worst, intersection_over_union, pixel_confusion

IMAGE = np.full((100, 100, 3), 90, dtype=np.uint8)
LEFT, RIGHT, LOWER = [0, 0, 40, 40], [50, 0, 40, 40], [50, 60, 30, 30]  # x, y, width, height


def test_pixels_of_two_classes_by_hand():
    truth = np.array([[0, 0, 0, 255], [1, 1, 0, 255]], dtype=np.uint8)
    predicted = np.array([[0, 0, 1, 1], [1, 0, 0, 0]], dtype=np.uint8)
    confusion = pixel_confusion(truth, predicted, 2)
    assert confusion.tolist() == [[3, 1], [1, 1]]
    assert intersection_over_union(confusion).tolist() == [3 / 5, 1 / 3]
    assert np.isnan(intersection_over_union(np.diag([4, 0]))[1])  # nobody has it


def found(path, *objects):
    """Detections from (x, y, width, height), label and score."""
    boxes = np.array([(x, y, x + w, y + h) for (x, y, w, h), *_ in objects], dtype=np.float32).reshape(-1, 4)
    labels = np.array([label for _, label, _ in objects], dtype=int)
    scores = np.array([score for *_, score in objects], dtype=np.float32)
    return Detections(path, IMAGE, ('cat', 'dog'), boxes=boxes, scores=scores, labels=labels)


@pytest.fixture
def findings(tmp_path):
    """Two images: a cat and a dog, of which the dog is called a cat; and a cat that is found, with a dog beside it."""
    annotations = [
        dict(id=1, image_id=1, category_id=7, bbox=LEFT, area=1600, iscrowd=0),
        dict(id=2, image_id=1, category_id=3, bbox=RIGHT, area=1600, iscrowd=0),
        dict(id=3, image_id=2, category_id=7, bbox=LEFT, area=1600, iscrowd=0),
        dict(id=4, image_id=2, category_id=9, bbox=RIGHT, area=1600, iscrowd=0),  # no class of the config
    ]
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png', height=100, width=100) for i in (1, 2)],
        categories=[dict(id=7, name='cat'), dict(id=3, name='dog'), dict(id=9, name='owl')],
        annotations=annotations,
    )
    (tmp_path / 'coco.json').write_text(json.dumps(content))
    infos = [dict(img_id=i, img_path=f'{i}.png') for i in (1, 2)]

    class Dataset(list):
        ann_file, cat_ids, cat2label = str(tmp_path / 'coco.json'), [7, 3], {7: 0, 3: 1}
        get_data_info = list.__getitem__

    answers = {
        '1.png': found('1.png', (LEFT, 0, 0.9), (RIGHT, 0, 0.8)),
        '2.png': found('2.png', (LEFT, 0, 0.7), (LOWER, 1, 0.6), (LOWER, 0, 0.1)),
    }

    class Predictor(SimpleNamespace):
        def __call__(self, paths, on_error):
            return (answers[path] for path in paths)

    return _evaluate_detector(Predictor(classes=('cat', 'dog')), Dataset(infos))


def test_confusion_of_two_classes_with_background(findings):
    """Rows are true: two cats found; the dog called a cat; nothing there, called a dog. A score of 0.1 counts not."""
    assert findings.names == ['cat', 'dog', 'background']
    assert findings.confusion.tolist() == [[2, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_average_precision_by_hand(findings):
    """Cats: hit (0.9), miss (0.8), hit (0.7): precision 1 up to recall 1/2, then 2/3, at 51 and 50 of 101 recalls."""
    cat, dog, mean = findings.classes
    assert findings.header == ['class', 'objects', 'box AP', 'box AP50']
    expected = (51 * 1 + 50 * 2 / 3) / 101
    assert cat[:2] == ['cat', 2] and cat[2:] == pytest.approx([expected] * 2)
    assert dog == ['dog', 1, 0, 0]
    assert mean == ['mean', 3, pytest.approx(expected / 2), pytest.approx(expected / 2)]


def test_worst_images_come_first(findings):
    """F1 of the first is 2 * 1 / (2 + 2), that of the second 2 * 1 / (1 + 2)."""
    assert [caption for _, caption, _ in findings.worst] == ['1.png: 0.50', '2.png: 0.67']
    assert all(picture.ndim == 3 for *_, picture in findings.worst)


def test_only_the_worst_are_drawn_and_kept(monkeypatch):
    monkeypatch.setattr('mmcnv2.report.findings.NUM_WORST', 2)
    worst, drawn = _Worst(), []
    for score in (0.5, 0.9, 0.1, 0.95, 0.3):
        worst.add(score, 'a', lambda score=score: drawn.append(score))
    assert [score for score, *_ in worst.sorted()] == [0.1, 0.3]
    assert drawn == [0.5, 0.9, 0.1, 0.3]
