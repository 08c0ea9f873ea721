"""Each kind of model as a file, run by ``Predictor``, beside the model, at sizes that nothing was recorded for."""

import re
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from helpers import whole_models
from helpers.commands import call, refusal

from mmcnv2.apis import Predictor
from mmcnv2.export import exporting, graphs
from mmcnv2.inference.onnx_models import OnnxModel
from mmcnv2.utils.errors import ConfigError, InputError

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


def test_bands(folder, image):
    """Four of them, whose data cannot be read: compared on random images."""
    four = {
        'model.backbone.in_channels': 4,
        'model.data_preprocessor': dict(
            _delete_=True,
            type='mmcnv2.SegDataPreProcessor',
            mean=[100.0, 110.0, 120.0, 7.5],
            std=[50.0, 60.0, 70.0, 3.0],
            test_cfg=dict(size_divisor=32),
        ),
        'test_dataloader.dataset.pipeline': [dict(type='mmcnv2.LoadImage', bands='all'), dict(type='PackSegInputs')],
        **{f'{split}_dataloader.dataset.data_root': '/nowhere' for split in ('train', 'val')},
    }
    predictor = Predictor(*whole_models.fcn(folder, **four), 'cpu')
    assert not exporting.export_model(predictor, folder / 'bands.onnx', images=0).images_are_real
    from_file = Predictor(folder / 'bands.onnx', device='cpu')
    bands = np.dstack([image, image[..., :1] // 9])
    (expected,), (found,) = predictor(bands), from_file(bands)
    assert (found.label_map == expected.label_map).mean() > 0.999
    with pytest.raises(InputError, match='the array has 3 bands, the model takes 4'):
        list(from_file(image))


def test_windows_that_slide(folder, toy_scenes, image):
    slides = {'model.test_cfg': dict(_delete_=True, mode='slide', crop_size=(64, 96), stride=(48, 64))}
    predictor, from_file, _ = exported(whole_models.fcn, folder, toy_scenes, **slides)
    (expected,), (found,) = predictor(image), from_file(image)
    assert (found.label_map == expected.label_map).mean() > 0.999


@pytest.mark.slow
def test_the_command_reports_both_scores(folder, toy_scenes, capsys):
    """Soft-NMS becomes NMS; the scores are those of the config's own metric, on some of its images."""
    soft = {'model.test_cfg.rcnn.nms': dict(_delete_=True, type='soft_nms', iou_threshold=0.5, min_score=0.05)}
    data = {f'{split}_dataloader.dataset.data_root': f'{toy_scenes}/' for split in ('train', 'val')}
    data |= {'val_evaluator.ann_file': f'{toy_scenes}/annotations/instances_val.json', 'val_evaluator.metric': 'bbox'}
    cfg, checkpoint = whole_models.faster_rcnn(folder, **soft, **data)
    cfg.dump(folder / 'soft.py')
    call('export', folder / 'soft.py', checkpoint, folder / 'soft.onnx', '--images', 2)
    printed = capsys.readouterr().out
    assert 'Soft-NMS has no ONNX operator: the file has NMS' in printed
    assert '2 of 4 validation images:' in printed and '| metric | model | fp32 |' in printed
    assert re.search(r'^\| coco/bbox_mAP \| [\d.]+ \| [\d.]+ \|$', printed, re.MULTILINE)
    assert re.search(r'(\d+) of \1 objects are the same', printed)  # with NMS in the model
    assert OnnxModel(str(folder / 'soft.onnx'), 'cpu').description.settings['soft_nms']
    assert not list(folder.glob('.tmp*'))


@pytest.fixture(scope='module')
def wide(folder, toy_scenes):
    return exported(whole_models.fcn, folder, toy_scenes, **{'model.decode_head.channels': 64})


@pytest.mark.slow
@pytest.mark.parametrize(('precision', 'smaller'), [('fp16', 0.7), ('int8', 0.6)])
def test_smaller_files(precision, smaller, wide, folder):
    predictor, from_file, _ = wide
    path = folder / f'{precision}.onnx'
    report = exporting.export_model(predictor, path, precision, images=2, calibration_images=3)
    assert path.stat().st_size < smaller * Path(from_file.model.path).stat().st_size
    assert report.calibration == (3 if precision == 'int8' else 0) and report.images == 2
    assert list(report.scores) == ['model', 'fp32', precision]
    assert report.scores['model'] == pytest.approx(report.scores['fp32'], abs=0.02)
    assert all(abs(report.scores[precision][name] - value) < 5 for name, value in report.scores['fp32'].items())
    run = OnnxModel(str(path), 'cpu')
    assert run.description.precision == precision
    types = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert dict(fp16=onnx.TensorProto.FLOAT16, int8=onnx.TensorProto.INT8)[precision] in types
    inputs = 255 * np.random.default_rng(0).random((1, 3, 64, 96), dtype=np.float32)
    found, expected = run(inputs)['logits'], from_file.model(inputs)['logits']
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 0 < error < dict(fp16=0.01, int8=0.2)[precision]


def test_what_a_precision_costs_without_metrics(folder, capsys):
    """An encoder predicts nothing: its maps are compared, those in float16 too, whose numbers have 11 bits."""
    cfg, checkpoint = whole_models.fcmae(folder)
    cfg.dump(folder / 'encoder.py')
    call('export', folder / 'encoder.py', checkpoint, folder / 'encoder.onnx', '--precision', 'fp16')
    printed = capsys.readouterr().out
    fp32, fp16 = map(float, re.findall(r'^compared in fp\d\d .* maps differ by at most (\S+) ', printed, re.MULTILINE))
    assert fp32 < 1e-5 and 2**-13 < fp16 < 2**-7
    assert 'metrics before and after: not measured (an encoder predicts nothing)' in printed


def test_a_file_that_is_not_the_model_is_removed(folder, toy_scenes, monkeypatch, tmp_path):
    monkeypatch.setattr(graphs.Normalized, 'forward', lambda self, images: self.following(images))
    predictor = Predictor(*whole_models.fcn(folder), 'cpu')
    with pytest.raises(InputError, match='is not written: what was exported is not the model'):
        exporting.export_model(predictor, tmp_path / 'wrong.onnx', images=0)
    assert list(tmp_path.iterdir()) == []


def test_without_validation_data(folder, monkeypatch, tmp_path, capsys):
    """Compared on scenes that are rendered for it; the report says so, and why nothing was measured."""
    cfg, checkpoint = whole_models.fcn(
        folder, **{f'{s}_dataloader.dataset.data_root': '/nowhere' for s in ('train', 'val')}
    )
    cfg.dump(folder / 'nowhere.py')
    call('export', folder / 'nowhere.py', checkpoint, tmp_path / 'model.onnx')
    printed = capsys.readouterr().out
    assert 'rendered here, since the data of the config cannot be read' in printed
    assert 'before and after: not measured (the validation data of the config cannot be read' in printed
    message = refusal('export', folder / 'nowhere.py', checkpoint, tmp_path / 'b.onnx', '--precision', 'int8')
    assert 'int8 needs images of train_dataloader' in message and not (tmp_path / 'b.onnx').exists()


def test_what_has_no_export_is_named(folder, toy_scenes):
    steps = [dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5), dict(type='PackSegInputs')]
    given = whole_models.fcn(folder, **{'test_dataloader.dataset.pipeline': steps})
    with pytest.raises(ConfigError, match=r'pipeline\.1: an exported file cannot say what RandomFlip does'):
        exporting.prepare(Predictor(*given, 'cpu'))
    with pytest.raises(InputError, match=r'model\.bbox_head: RTMDetInsSepBNHead has no ONNX export'):
        exporting.prepare(Predictor(*whole_models.rtmdet_ins(folder), 'cpu'))


def test_refusals(tmp_path):
    assert 'must end in .onnx' in refusal('export', 'a.py', 'a.pth', tmp_path / 'a.pt2')
    assert 'give a config as well' in refusal('export', 'a.pth', tmp_path / 'a.onnx', '--precision', 'fp16')
    assert 'leave out the config' in refusal('export', 'a.py', 'a.pth', 'a.onnx', '--out-indices', 3)
    assert '--images must be at least 0' in refusal('export', 'a.py', 'a.pth', 'a.onnx', '--images', -1)
