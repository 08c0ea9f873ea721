"""``Predictor`` of an ONNX file: contracts that are those of any predictor, and an environment without the models."""

import json
import subprocess
import sys
from contextlib import suppress
from importlib import metadata

import cv2
import numpy as np
import onnx
import pytest
from helpers import foreign_data, whole_models
from helpers.commands import call, refusal
from mmcv.ops import batched_nms
from mmengine.config import Config
from mmengine.registry import DefaultScope
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from torch import from_numpy

from mmcnv2.apis import Predictor
from mmcnv2.export import export_model
from mmcnv2.inference.onnx_models import Description, OnnxDetection, OnnxPreparation, ResizeEdge
from mmcnv2.inference.preparation import Preparation
from mmcnv2.utils.errors import InputError

SMALL_INSTALL = """
import sys
from importlib.machinery import PathFinder

absent, (model, image, out) = sys.argv[1].split(), sys.argv[2:]

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split('.')[0] in absent or name in ('mmcv._ext', 'mmcv.ops'):
            return None
        return super().find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from mmcnv2.apis import Predictor, get_config
from mmcnv2.cli import main

for result in Predictor(model)(image, tile=96):
    print(len(result.scores), result.masks.shape, result.draw().shape)
sys.argv[1:] = ['predict', model, image, '--out', out, '--score-threshold', '0.2']
main()
try:
    get_config('toy/fcmae_convnextv2-atto_toy-scenes')
except ImportError as error:
    assert 'mmdet is missing' in str(error)
    print('named')
"""


def modules_outside_of(extra):
    """The top-level modules of what is installed and ``pip install mmcnv2[extra]`` does not bring."""
    brought, left = set(), [Requirement(f'mmcnv2[{extra}]')]
    while left:
        requirement = left.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in brought:
            continue
        brought.add(key)
        with suppress(metadata.PackageNotFoundError):
            for line in metadata.requires(requirement.name) or ():
                needed = Requirement(line)
                if needed.marker is None or any(needed.marker.evaluate({'extra': e}) for e in ('', *key[1])):
                    left.append(needed)
    names = {name for name, _ in brought}
    distributions = metadata.packages_distributions().items()
    return {module for module, of in distributions if not names & {canonicalize_name(name) for name in of}}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('onnx_models')


@pytest.fixture(scope='module')
def image(toy_scenes):
    return toy_scenes / 'val/000000.jpg'


@pytest.fixture(scope='module')
def detector(folder, toy_scenes):
    """Images are resized before they are given to it, and are no multiple of 32 then."""
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(150, 150), keep_ratio=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
    ]
    data = {'test_dataloader.dataset.pipeline': steps, 'val_dataloader.dataset.data_root': f'{toy_scenes}/'}
    given = whole_models.mask_rcnn(folder, **data)
    export_model(Predictor(*given, 'cpu'), folder / 'detector.onnx', images=0)
    return folder / 'detector.onnx', given


@pytest.mark.slow
def test_images_that_are_resized(detector, image):
    """Proposals are clipped to the padded image: objects at its border may differ, most do not."""
    path, given = detector
    predictors = Predictor(path, device='cpu', score_threshold=0.2), Predictor(*given, 'cpu', 0.2)
    (found,), (expected,) = (list(predictor(image)) for predictor in predictors)
    assert found.boxes.max() <= 128 and found.masks.shape == (len(found.scores), 128, 128)
    same = 0
    for box, score, mask in zip(expected.boxes, expected.scores, expected.masks, strict=True):
        i = int(np.abs(found.boxes - box).max(axis=1).argmin())
        if np.abs(found.boxes[i] - box).max() < 0.5 and abs(found.scores[i] - score) < 1e-3:
            same += 1
            assert (found.masks[i] == mask).mean() > 0.99  # resized as a mask
    assert same > len(expected.scores) / 2


@pytest.mark.slow
def test_a_small_install(detector, image, root, tmp_path):
    """Only what the extra brings is there, and no compiled operators; what needs more says so."""
    absent = modules_outside_of('onnxruntime')
    assert {'mmdet', 'mmseg', 'mmpretrain', 'onnx', 'onnxscript', 'timm'} < absent
    assert not {'torch', 'mmengine', 'onnxruntime', 'cv2', 'supervision'} & absent
    done = subprocess.run(
        [sys.executable, '-c', SMALL_INSTALL, ' '.join(absent), detector[0], image, tmp_path / 'out'],
        env={'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1', 'PATH': ''},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    count, *_ = done.stdout.split()
    assert int(count) > 0 and '(128, 128, 3)' in done.stdout and done.stdout.endswith('named\n')
    assert json.loads((tmp_path / 'out/predictions.json').read_text())['annotations']


@pytest.mark.slow
def test_the_command_and_the_page(detector, image, tmp_path):
    from mmcnv2.demo.models import load_tab

    call('predict', detector[0], image, '--out', tmp_path / 'out', '--score-threshold', 0.2, '--save', 'json')
    content = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert (
        content['annotations'] and len(content['categories']) == 6 and content['images'][0]['file_name'] == image.name
    )
    assert load_tab('detector', [str(detector[0])], 'cpu').classes[0] == 'ball'
    message = refusal('predict', detector[0], image, '--out', tmp_path / 'b', '--cfg-options', 'a=1')
    assert 'not for a .onnx file' in message
    assert 'no source' in refusal('predict', 'config.py', image, '--out', tmp_path / 'b')


def test_objects_of_tiles_are_joined_as_by_mmcv():
    random = np.random.default_rng(0)
    corners = random.uniform(0, 60, (40, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 40, (40, 2))], axis=1).astype(np.float32)
    scores, labels = random.random(40, dtype=np.float32), random.integers(0, 3, 40)
    for nms in (dict(type='nms', iou_threshold=0.3), dict(type='nms', iou_threshold=0.3, class_agnostic=True)):
        task = OnnxDetection(None, None, (), 0.0, nms)
        kept, _, surest = task.surest(boxes, scores, labels)
        dets, expected = batched_nms(*map(from_numpy, (boxes, scores, labels)), nms_cfg=nms)
        assert kept.tolist() == expected.tolist() and len(kept) < 40
        np.testing.assert_array_equal(surest, dets[:, 4])


@pytest.mark.parametrize('edge', ['short', 'long', 'width', 'height'])
def test_resized_edges_are_those_of_mmpretrain(edge):
    from mmpretrain.datasets import ResizeEdge as Expected

    for shape in ((40, 30, 3), (30, 40, 3)):
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        settings = dict(scale=17, edge=edge, backend='pillow', interpolation='bicubic')
        found, expected = (kind(**settings).transform(dict(img=image))['img'] for kind in (ResizeEdge, Expected))
        np.testing.assert_array_equal(found, expected)


def test_refusals(folder, tmp_path):
    with pytest.raises(InputError, match=r'nowhere\.onnx does not exist'):
        Predictor(tmp_path / 'nowhere.onnx')
    (tmp_path / 'text.onnx').write_text('no model')
    with pytest.raises(InputError, match=r'text\.onnx is no ONNX file'):
        Predictor(tmp_path / 'text.onnx')
    value = onnx.helper.make_tensor_value_info('images', onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node('Identity', ['images'], ['x'])], 'g', [value], [value])
    graph.output[0].name = 'x'
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, tmp_path / 'other.onnx')
    with pytest.raises(InputError, match='says nothing of classes'):
        Predictor(tmp_path / 'other.onnx')
    onnx.helper.set_model_props(model, {'mmcnv2.version': '"9"', 'mmcnv2.classes': '[]', 'mmcnv2.news': '1'})
    onnx.save(model, tmp_path / 'later.onnx')
    with pytest.raises(InputError, match='was written by mmcnv2 9'):
        Predictor(tmp_path / 'later.onnx')


def test_devices(detector):
    with pytest.raises(InputError, match=r"device must be one of auto, cpu.*got 'tpu'"):
        Predictor(detector[0], device='tpu')


def test_steps_are_those_of_the_libraries(image):
    """With the padding of RTMDet's configs, and again after they were JSON."""
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 160), keep_ratio=True),
        dict(type='Pad', size=(160, 160), pad_val=dict(img=(114, 7, 9))),
        dict(type='PackDetInputs', meta_keys=('img_shape', 'scale_factor')),
    ]
    pixels = cv2.imread(str(image))[:100]
    with DefaultScope.overwrite_default_scope('mmdet'):
        expected = Preparation(Config(dict(test_dataloader=dict(dataset=dict(pipeline=steps)))))(pixels, None)
    description = Description(
        task='detection',
        classes=(),
        steps=steps[:-1],
        channels=3,
        pad_divisor=64,
        pad_size=None,
        pad_value=[1, 2, 3],
        settings={},
    )
    description = Description.from_metadata('', description.metadata())
    found = OnnxPreparation(description)(pixels, None)
    assert found['inputs'].shape == (3, 192, 192) and found['inputs'].dtype == np.float32
    np.testing.assert_array_equal(found['inputs'][::-1, :160, :160], expected['inputs'])
    assert found['inputs'][:, 170, 20].tolist() == [1, 2, 3]
    assert found['img_shape'] == expected['data_samples'].img_shape == (160, 160)
    assert tuple(found['scale_factor']) == tuple(expected['data_samples'].scale_factor)


@pytest.mark.slow
def test_classifier(folder, toy_scenes):
    image = cv2.imread(str(toy_scenes / 'val/000001.jpg'))[..., ::-1].copy()
    foreign_data.class_folders(folder / 'val', ('a', 'b', 'c'), number=2)
    data = {
        'val_dataloader.dataset.data_root': f'{folder}/',
        'val_dataloader.dataset.metainfo.classes': ('a', 'b', 'c'),
    }
    predictor = Predictor(*whole_models.classifier(folder, **data), 'cpu')
    report = export_model(predictor, folder / 'classifier.onnx')
    assert report.images_are_real and report.images == 6
    assert report.scores['model'] == report.scores['fp32'] and 'accuracy/top1' in report.scores['model']
    (found,), (expected,) = Predictor(folder / 'classifier.onnx')(image), predictor(image)
    assert found.label == expected.label and found.classes == expected.classes
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)


@pytest.mark.slow
def test_an_encoder_predicts_nothing(folder, toy_scenes):
    data = {'train_dataloader.dataset.data_root': f'{toy_scenes}/unlabelled'}
    report = export_model(Predictor(*whole_models.fcmae(folder, **data), 'cpu'), folder / 'encoder.onnx')
    assert report.no_scores == 'an encoder predicts nothing' and report.images_are_real
    with pytest.raises(InputError, match='is an encoder'):
        Predictor(folder / 'encoder.onnx')
