"""Each kind of model as a file, run by ``Predictor``, beside the model, at sizes that nothing was recorded for."""

import cv2
import numpy as np
import onnx
import pytest
from helpers import whole_models

from mmcnv2.apis import Predictor
from mmcnv2.export import exporting
from mmcnv2.inference.onnx_models import OnnxModel

#: Of ai.onnx, whatever the model.
STANDARD = ('', 'ai.onnx')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('whole_models')


@pytest.fixture(scope='module')
def image(toy_scenes):
    """Not divisible by 32."""
    return cv2.resize(cv2.imread(str(next(iter(sorted((toy_scenes / 'val').glob('*.jpg')))))), (150, 100))[
        ..., ::-1
    ].copy()


def exported(build, folder, toy_scenes, images=0, **changes):
    """Predictor of a model, of its file, and the report."""
    data = {f'{split}_dataloader.dataset.data_root': f'{toy_scenes}/' for split in ('train', 'val')}
    cfg, checkpoint = build(folder, **data, **changes)
    if str(cfg.get('val_evaluator', {}).get('ann_file', '')).startswith('data/'):
        cfg.val_evaluator.ann_file = f'{toy_scenes}/annotations/instances_val.json'
    predictor = Predictor(cfg, checkpoint, 'cpu', score_threshold=0.05)
    path = folder / f'{build.__name__}.onnx'
    report = exporting.export_model(predictor, path, images=images)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {(entry.domain, entry.version) for entry in model.opset_import} == {('', 17)}
    assert all(node.domain in STANDARD for node in model.graph.node)
    return predictor, Predictor(path, device='cpu', score_threshold=0.05), report


@pytest.mark.slow
@pytest.mark.parametrize('build', whole_models.DETECTORS.values(), ids=whole_models.DETECTORS)
def test_detectors(build, folder, toy_scenes, image):
    predictor, from_file, report = exported(build, folder, toy_scenes)
    assert report.task == 'detection' and report.differences.images == 8 and report.images_are_real
    # Sides divisible by 32: the same. Others: mmdet clips proposals to the image, the file to the padded one.
    (expected,), (found,) = (list(one(cv2.resize(image, (160, 96)))) for one in (predictor, from_file))
    assert len(found.scores) == len(expected.scores) > 5
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.01)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert (found.labels == expected.labels).all() and found.classes == expected.classes
    assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)
    if expected.masks is None:
        assert found.masks is None
    else:
        assert found.masks.dtype == bool and (found.masks == expected.masks).mean() > 0.999
    (padded,) = from_file(image)
    assert padded.boxes.max(axis=0).tolist() <= [150, 100, 150, 100] and padded.image.shape == (100, 150, 3)
    # Of an image without anything in it, and of one patch.
    run = OnnxModel(str(folder / f'{build.__name__}.onnx'), 'cpu')
    (nothing,) = Predictor(folder / f'{build.__name__}.onnx', device='cpu', score_threshold=1)(image)
    assert len(nothing.boxes) == 0
    assert run(np.zeros((1, 3, 64, 32), dtype=np.float32))['boxes'].shape[1] == 4


@pytest.mark.slow
@pytest.mark.parametrize('build', whole_models.SEGMENTERS.values(), ids=whole_models.SEGMENTERS)
def test_segmenters(build, folder, toy_scenes, image):
    predictor, from_file, report = exported(build, folder, toy_scenes)
    assert report.task == 'segmentation' and report.no_scores == 'not asked for'
    images = [image, image[::-1].copy(), image[:64, :96].copy()]  # a batch of two, and one of another size
    for expected, found in zip(predictor(images), from_file(images, batch_size=2), strict=True):
        assert len(np.unique(expected.label_map)) > 1
        assert found.label_map.dtype == np.uint8 and (found.label_map == expected.label_map).mean() > 0.999
    run = OnnxModel(str(folder / f'{build.__name__}.onnx'), 'cpu')
    assert run(np.zeros((3, 3, 64, 128), dtype=np.float32))['logits'].shape == (3, 7, 64, 128)


def test_windows_that_slide(folder, toy_scenes, image):
    slides = {'model.test_cfg': dict(_delete_=True, mode='slide', crop_size=(64, 96), stride=(48, 64))}
    predictor, from_file, _ = exported(whole_models.fcn, folder, toy_scenes, **slides)
    (expected,), (found,) = predictor(image), from_file(image)
    assert (found.label_map == expected.label_map).mean() > 0.999
