"""Predictor against the libraries' own inference, and against itself: batches, tiles, arrays, streams."""

import weakref

import cv2
import numpy as np
import pytest
import torch
from helpers.recipes import recipe_with_weights
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmcnv2.apis import Predictor, get_config
from mmcnv2.datasets import UnreadableImageError
from mmcnv2.inference import predictor as module
from mmcnv2.inference.sources import Item
from mmcnv2.inference.tasks import reduces_zero_label
from mmcnv2.registry import MODELS
from mmcnv2.utils.errors import InputError

CLASSES = ('ball', 'box', 'can', 'cone', 'ring', 'mug')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('predictor')


@pytest.fixture(scope='module')
def detector(folder):
    return recipe_with_weights('toy/mask-rcnn_convnextv2-atto_toy-scenes', folder)


@pytest.fixture(scope='module')
def segmenter(folder):
    return recipe_with_weights('toy/upernet_convnextv2-atto_toy-scenes', folder)


@pytest.fixture(scope='module')
def fcmae(folder):
    return recipe_with_weights('toy/fcmae_convnextv2-atto_toy-scenes', folder)


@pytest.fixture(scope='module')
def images(toy_scenes):
    return sorted((toy_scenes / 'val').glob('*.jpg'))


def test_detector_equals_mmdet(detector, images):
    from mmdet.apis import inference_detector, init_detector

    predictor = Predictor(*detector, device='cpu', score_threshold=0.2)
    results = list(predictor(images))
    model = init_detector(*detector, device='cpu')
    assert sum(len(result.scores) for result in results) > 5
    for path, result in zip(images, results, strict=True):
        expected = inference_detector(model, str(path)).pred_instances
        expected = expected[expected.scores >= 0.2]
        assert result.path == str(path) and result.classes == CLASSES and result.frame is None
        assert result.boxes.dtype == np.float32 and result.labels.dtype == np.int64
        np.testing.assert_allclose(result.boxes, expected.bboxes.numpy(), atol=1e-3)
        np.testing.assert_allclose(result.scores, expected.scores.numpy(), atol=1e-5)
        assert (result.labels == expected.labels.numpy()).all()
        assert (result.masks == expected.masks.numpy()).mean() > 0.9999
        assert (result.image == cv2.imread(str(path))[..., ::-1]).all()


def test_segmenter_equals_mmseg(segmenter, images):
    from mmseg.apis import inference_model, init_model

    model = init_model(*segmenter, device='cpu')
    for path, result in zip(images, Predictor(*segmenter, device='cpu')(images), strict=True):
        expected = inference_model(model, str(path)).pred_sem_seg.data[0].numpy()
        assert result.classes == ('background', *CLASSES)
        assert result.label_map.dtype == np.uint8 and result.label_map.shape == result.image.shape[:2]
        assert len(np.unique(expected)) > 2
        assert (result.label_map == expected).all()


def test_first_label_is_that_of_the_label_maps_of_the_data(segmenter):
    config, checkpoint = segmenter
    assert Predictor(config, checkpoint, device='cpu').task.first_label == 0
    ade = get_config('upernet/upernet_convnextv2-atto-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512')
    with DefaultScope.overwrite_default_scope('mmseg'):
        assert reduces_zero_label(ade)


def test_batches_and_arrays_change_nothing(detector, images):
    predictor = Predictor(*detector, device='cpu', score_threshold=0.2)
    singly = list(predictor(images))
    small = np.ascontiguousarray(singly[1].image[:96])
    arrays = [singly[0].image, singly[1].image, small, singly[2].image]
    *others, last = predictor(arrays, batch_size=3)  # the third has another size
    for one, other in zip(singly, [*others[:2], last], strict=False):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
        assert other.path is None
    assert others[2].image.shape == (96, 128, 3)


def test_tiles_of_a_segmenter(segmenter, images):
    predictor = Predictor(*segmenter, device='cpu')
    image = cv2.resize(cv2.imread(str(images[0])), (160, 200))[..., ::-1].copy()
    (tiled,) = predictor(image, tile=128, overlap=0.25, batch_size=3)
    logits, count = torch.zeros(7, 200, 160), torch.zeros(200, 160)
    for top in (0, 72):
        for left in (0, 32):
            crop = image[top : top + 128, left : left + 128]
            sample = predictor.model.test_step(
                {key: [value] for key, value in predictor.task.preparation(crop[..., ::-1].copy(), None).items()}
            )[0]
            logits[:, top : top + 128, left : left + 128] += sample.seg_logits.data
            count[top : top + 128, left : left + 128] += 1
    assert (tiled.label_map == (logits / count).argmax(0).numpy()).mean() > 0.9999
    (whole,) = predictor(image, tile=200)
    (same,) = predictor(image)
    assert (whole.label_map == same.label_map).all()


def test_tiles_of_a_detector(detector, images):
    """An image that is the same scene four times: each is found where it is."""
    predictor = Predictor(*detector, device='cpu', score_threshold=0.2)
    (scene,) = predictor(images[1])
    (tiled,) = predictor(np.tile(scene.image, (2, 2, 1)), tile=128, overlap=0, batch_size=2)
    assert len(scene.boxes) and len(tiled.boxes) == 4 * len(scene.boxes)
    assert (np.diff(tiled.scores) <= 0).all()
    for top in (0, 128):
        for left in (0, 128):
            inside = (tiled.boxes - (left, top, left, top) >= -1e-3).all(1) & (
                tiled.boxes - (left, top, left, top) <= 128 + 1e-3
            ).all(1)
            moved = tiled.boxes[inside] - (left, top, left, top)
            order = np.lexsort((moved[:, 0], -tiled.scores[inside]))
            expected = np.lexsort((scene.boxes[:, 0], -scene.scores))
            np.testing.assert_allclose(moved[order], scene.boxes[expected], atol=1e-2)
    first = int(np.argmax(scene.scores))
    places = [(0, 0), (0, 128), (128, 0), (128, 128)]
    masks = [mask for mask, score in zip(tiled.masks, tiled.scores, strict=True) if score > scene.scores[first] - 1e-5]
    for top, left in places:
        wanted = np.zeros((256, 256), dtype=bool)
        wanted[top : top + 128, left : left + 128] = scene.masks[first]
        assert any((mask == wanted).mean() > 0.9999 for mask in masks)


def test_reconstruction(fcmae, images):
    predictor = Predictor(*fcmae, device='cpu')
    one, again = (next(predictor(images[0])) for _ in range(2))
    rows, columns = one.mask.shape
    assert one.mask.dtype == bool and one.classes == () and (one.mask == again.mask).all()
    assert one.mask.sum() == rows * columns - int(rows * columns * 0.4)
    removed = one.mask[np.arange(128) * rows // 128][:, np.arange(128) * columns // 128]
    assert (one.reconstruction[~removed] == one.image[~removed]).all()
    assert (one.reconstruction[removed] != one.image[removed]).any()
    assert (one.masked[removed] == 128).all() and (one.masked[~removed] == one.image[~removed]).all()
    flipped = next(predictor(one.image[:, ::-1]))  # a view with steps backwards
    assert (flipped.image == one.image[:, ::-1]).all()
    predictor.task.seed = 1
    assert (next(predictor(images[0])).mask != one.mask).any()
    predictor.task.mask = np.eye(rows, columns, dtype=bool)
    assert (next(predictor(images[0])).mask == np.eye(rows, columns)).all()
    predictor.task.mask = np.ones((2, 2), dtype=bool)
    with pytest.raises(InputError, match='mask must have the shape'):
        next(predictor(images[0]))
    with pytest.raises(InputError, match='only detectors and segmenters'):
        predictor(images[0], tile=128)


def test_classifier(folder):
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='mmcnv2.ConvNeXtV2', arch='atto', out_indices=(3,)),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=3, in_channels=320),
                data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True),
            ),
            test_dataloader=dict(
                dataset=dict(
                    type='CustomDataset',
                    metainfo=dict(classes=('a', 'b')),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='ResizeEdge', scale=64, edge='short'),
                        dict(type='CenterCrop', crop_size=64),
                        dict(type='PackInputs'),
                    ],
                )
            ),
        )
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    torch.save(model.state_dict(), folder / 'classifier.pth')
    predictor = Predictor(cfg, folder / 'classifier.pth', device='cpu')
    (result,) = predictor(np.zeros((90, 70, 3), dtype=np.uint8))
    assert result.classes == ('a', 'b', 'class 2')  # a name for each output
    assert result.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert result.label == result.probabilities.argmax()
    (tall,) = predictor(np.full((64, 64, 3), 255, dtype=np.uint8))
    model.eval()
    inputs = torch.full((1, 3, 64, 64), (255 - 120) / 60)
    expected = model.head.fc(model.neck(model.backbone(inputs))[-1]).softmax(-1)[0].detach().numpy()
    np.testing.assert_allclose(tall.probabilities, expected, atol=1e-5)


def test_unreadable_files(segmenter, images, tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no image')
    (tmp_path / 'b.jpg').write_bytes(images[0].read_bytes())
    predictor = Predictor(*segmenter, device='cpu')
    with pytest.raises(UnreadableImageError, match=r'a\.png'):
        list(predictor(tmp_path / 'a.png'))
    assert [result.path for result in predictor(tmp_path)] == [str(tmp_path / 'b.jpg')]
    errors = []
    assert len(list(predictor(tmp_path, on_error=lambda path, error: errors.append((path, str(error)))))) == 1
    assert errors[0][0] == str(tmp_path / 'a.png') and 'a.png' in errors[0][1]


def test_stream_of_any_length_needs_the_memory_of_a_few_frames(segmenter, monkeypatch):
    frames_made: list[weakref.ref] = []
    most = 0

    class Frame(np.ndarray):
        pass

    class Frames:
        def __init__(self, item):
            pass

        def __iter__(self):
            nonlocal most
            for value in range(60):
                frame = np.full((32, 32, 3), value, dtype=np.uint8).view(Frame)
                frames_made.append(weakref.ref(frame))
                most = max(most, sum(one() is not None for one in frames_made))
                yield frame

    monkeypatch.setattr(module, 'Stream', Frames)
    predictor = Predictor(*segmenter, device='cpu')
    predictor.task.from_array = predictor.task.preparation.from_array = lambda array: array
    frames = [
        (result.frame, int(result.image[0, 0, 0]))
        for _, result in predictor.predict_items([Item('film.mp4', 'film.mp4')], 2, None, 0.2, module._raise)
    ]
    assert frames == [(number, number) for number in range(60)]
    assert most <= 8


def test_nothing_in_the_process_is_changed(segmenter, images):
    from mmcv.transforms import LoadImageFromFile
    from mmseg.registry import TRANSFORMS

    scopes, reader = dict(DefaultScope._instance_dict), TRANSFORMS.get('LoadImageFromFile')
    list(Predictor(*segmenter, device='cpu')(images[0]))
    assert dict(DefaultScope._instance_dict) == scopes
    assert TRANSFORMS.get('LoadImageFromFile') is reader and issubclass(reader, LoadImageFromFile)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(score_threshold=2), 'score_threshold must be from 0 to 1'),
        (dict(checkpoint=None), 'checkpoint must be'),
        (dict(checkpoint='nowhere.pth'), r'nowhere\.pth does not exist'),
        (dict(config='nowhere.py'), r'config file not found: nowhere\.py'),
        (dict(config='model.onnx', checkpoint=None), r'model\.onnx does not exist'),
        (dict(config='model.onnx'), r'checkpoint must be None: model\.onnx has the weights'),
        (dict(device='cuda:99'), 'device must be one of auto, cpu'),
    ],
)
def test_refusals(segmenter, changes, message):
    config, checkpoint = segmenter
    with pytest.raises(InputError, match=message):
        Predictor(**{'config': config, 'checkpoint': checkpoint, 'device': 'cpu', **changes})


def test_checkpoint_of_another_model(segmenter, detector):
    with pytest.raises(InputError, match='does not fit the model of the config'):
        Predictor(segmenter[0], detector[1])


def test_bad_arguments_of_a_call(segmenter, images):
    predictor = Predictor(*segmenter, device='cpu')
    for arguments, message in (
        (dict(batch_size=0), 'batch_size'),
        (dict(tile=5), 'tile'),
        (dict(overlap=2), 'overlap'),
    ):
        with pytest.raises(InputError, match=message):
            predictor(images[0], **arguments)
