"""What is in the files, and what a folder is like after an interruption; the model is a stand-in."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers.pictures import write_video
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mmcnv2.datasets import UnreadableImageError
from mmcnv2.inference import Detections, Segmentation
from mmcnv2.inference.sources import Stream, find_items
from mmcnv2.inference.writing import check_kinds, default_kinds, read_coco_ids, write_predictions
from mmcnv2.utils.errors import ConfigError, ExistingFileError, InputError

SETTINGS = dict(checkpoint='a.pth')


class StandIn:
    """A predictor that finds one box in the brightest quarter, or labels bright pixels; stops when told to."""

    def __init__(self, masks=False, stop_after=None):
        self.classes = ('dark', 'bright')
        self.model = self
        self.task = SimpleNamespace(
            first_label=0, writes=('masks', 'json', 'pictures', 'video') if masks else ('json', 'pictures', 'video')
        )
        self.masks, self.stop_after, self.seen = masks, stop_after, []

    def predict_items(self, items, batch_size, tile, overlap, on_error):
        for index, item in enumerate(items):
            try:
                frames = enumerate(Stream(item)) if item.is_stream else [(None, self.read(item))]
                for frame, image in frames:
                    if self.stop_after is not None and len(self.seen) >= self.stop_after:
                        raise KeyboardInterrupt
                    self.seen.append((item.name, frame))
                    yield index, self.result(item, image, frame)
            except UnreadableImageError as error:
                on_error(item.path, error)

    def read(self, item):
        image = cv2.imread(item.path)
        if image is None:
            raise UnreadableImageError(item.path, 'damaged')
        return image[..., ::-1]

    def result(self, item, image, frame):
        bright = image[..., 0] > 127
        common = dict(path=item.path, image=image, classes=self.classes, frame=frame)
        if self.masks:
            return Segmentation(**common, label_map=bright.astype(np.uint8))
        box = np.array([[2, 3, 12, 23]], dtype=np.float32)
        part = np.zeros((20, 10), dtype=bool)
        part[:10] = True
        score = np.array([0.75], dtype=np.float32)
        return Detections(**common, boxes=box, scores=score, labels=np.array([1]), parts=[(2, 3, part)])


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'in'
    (folder / 'sub').mkdir(parents=True)
    image = np.zeros((32, 48, 3), dtype=np.uint8)
    image[:, 24:] = 255
    for name in ('a.png', 'sub/a.png', 'sub/b.png'):
        cv2.imwrite(str(folder / name), image)
    (folder / 'sub/c.png').write_bytes(b'damaged')
    return folder


def write(predictor, source, out, kinds=('json', 'pictures'), **options):
    return write_predictions(predictor, find_items(source), out, kinds, options.pop('settings', SETTINGS), **options)


def files(out):
    return sorted(str(path.relative_to(out)) for path in out.rglob('*') if path.is_file())


def test_coco_file_opens_alone(folder, tmp_path):
    out = tmp_path / 'out'
    written = write(StandIn(), folder, out)
    assert (written.done, written.before, written.errors) == (3, 0, 1)
    expected = ['errors.jsonl', 'pictures/a.jpg', 'pictures/sub/a.jpg', 'pictures/sub/b.jpg', 'predictions.json']
    assert files(out) == [*expected, 'progress.jsonl']
    coco = COCO(str(out / 'predictions.json'))
    assert [image['file_name'] for image in coco.loadImgs([1, 2, 3])] == ['a.png', 'sub/a.png', 'sub/b.png']
    assert coco.cats[2] == dict(id=2, name='bright')
    first = coco.anns[1]
    assert {key: first[key] for key in ('image_id', 'category_id', 'bbox', 'score', 'area', 'iscrowd')} == dict(
        image_id=1, category_id=2, bbox=[2, 3, 10, 20], score=0.75, area=100, iscrowd=0
    )
    mask = coco.annToMask(first)
    assert mask.shape == (32, 48) and mask[3:13, 2:12].all() and mask.sum() == 100
    assert coco.loadRes(coco.dataset['annotations']).getAnnIds() == [1, 2, 3]
    (error,) = map(json.loads, (out / 'errors.jsonl').read_text().splitlines())
    assert error['path'] == str(folder / 'sub/c.png') and 'damaged' in error['error']


def test_ids_of_an_annotation_file(folder, tmp_path):
    annotations = dict(
        images=[dict(id=70, file_name='b.png'), dict(id=9, file_name='a.png')],
        categories=[dict(id=5, name='bright'), dict(id=3, name='dark')],
    )
    (tmp_path / 'coco.json').write_text(json.dumps(annotations))
    ids = read_coco_ids(str(tmp_path / 'coco.json'))
    write(StandIn(), [folder / 'sub/a.png', folder / 'sub/b.png'], tmp_path / 'out', coco=ids)
    content = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert [one['image_id'] for one in content['annotations']] == [9, 70]
    assert {one['category_id'] for one in content['annotations']} == {5}
    with pytest.raises(ConfigError, match=r"no image of 2 of 4 names, for instance 'sub/a\.png'"):
        write(StandIn(), folder, tmp_path / 'other', coco=({'a.png': 1, 'sub/c.png': 2}, ids[1]))
    with pytest.raises(ConfigError, match='is no COCO annotation file'):
        read_coco_ids(str(folder / 'a.png'))


def test_label_maps(folder, tmp_path):
    out = tmp_path / 'out'
    write(StandIn(masks=True), folder, out, ('masks', 'json'))
    assert files(out)[1:4] == ['label_maps/a.png', 'label_maps/sub/a.png', 'label_maps/sub/b.png']
    label_map = np.asarray(Image.open(out / 'label_maps/sub/b.png'))
    assert label_map.dtype == np.uint8 and (label_map[:, :24] == 0).all() and (label_map[:, 24:] == 1).all()
    predictor = StandIn(masks=True)
    predictor.task.first_label = 1
    write(predictor, folder, tmp_path / 'ade', ('masks',))
    assert (np.asarray(Image.open(tmp_path / 'ade/label_maps/a.png')) == label_map + 1).all()
    regions = json.loads((out / 'predictions.json').read_text())['annotations']
    assert len(regions) == 6 and regions[1]['bbox'] == [24, 0, 24, 32] and regions[1]['area'] == 768
    assert (coco_mask.decode(regions[1]['segmentation']) == label_map).all()


def test_interrupted_run_goes_on(folder, tmp_path):
    whole, out = tmp_path / 'whole', tmp_path / 'out'
    write(StandIn(), folder, whole)
    with pytest.raises(KeyboardInterrupt):
        write(StandIn(stop_after=1), folder, out)
    assert files(out) == ['pictures/a.jpg', 'progress.jsonl']
    with (out / 'progress.jsonl').open('a') as file:
        file.write('{"name": "sub/a", "ima')  # cut off by a kill
    predictor = StandIn()
    written = write(predictor, folder, out)
    assert predictor.seen == [('sub/a.png', None), ('sub/b.png', None)] and written.before == 1
    assert files(out) == files(whole)
    assert (out / 'predictions.json').read_text() == (whole / 'predictions.json').read_text()
    cv2.imwrite(str(folder / 'sub/c.png'), np.zeros((32, 48, 3), np.uint8))  # mended
    written = write(StandIn(), folder, out)
    assert (written.done, written.before, written.errors) == (1, 3, 0)
    assert not (out / 'errors.jsonl').exists()
    assert len(COCO(str(out / 'predictions.json')).imgs) == 4


def test_videos(tmp_path):
    frames = [np.full((32, 48, 3), value, dtype=np.uint8) for value in range(0, 250, 50)]
    (tmp_path / 'in').mkdir()
    write_video(tmp_path / 'in/film.avi', frames, rate=12.5)
    write_video(tmp_path / 'in/next.avi', frames[:2])
    out = tmp_path / 'out'
    with pytest.raises(KeyboardInterrupt):
        write(StandIn(stop_after=3), tmp_path / 'in', out, ('json', 'video'))
    assert files(out) == ['progress.jsonl']  # no part of a video
    predictor = StandIn()
    assert write(predictor, tmp_path / 'in', out, ('json', 'video')).done == 7
    assert files(out) == ['predictions.json', 'progress.jsonl', 'videos/film.mp4', 'videos/next.mp4']
    video = cv2.VideoCapture(str(out / 'videos/film.mp4'))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    read = [frame for is_there, frame in iter(video.read, (False, None)) if is_there]
    assert len(read) == 5 and read[0].shape == (32, 48, 3)
    assert abs(int(read[4][30, 40, 0]) - 200) < 8
    images = json.loads((out / 'predictions.json').read_text())['images']
    assert [(image['file_name'], image['frame']) for image in images] == [
        *(('film.avi', number) for number in range(5)),
        *(('next.avi', number) for number in range(2)),
    ]
    assert write(StandIn(stop_after=0), tmp_path / 'in', out, ('json', 'video')).before == 7


def test_pictures_of_frames(tmp_path):
    write_video(tmp_path / 'film.avi', [np.zeros((32, 48, 3), np.uint8)] * 2)
    write(StandIn(), tmp_path / 'film.avi', tmp_path / 'out', ('pictures',))
    assert files(tmp_path / 'out')[:2] == ['pictures/film/000000.jpg', 'pictures/film/000001.jpg']


def test_folder_of_other_results_is_left_alone(folder, tmp_path):
    out = tmp_path / 'out'
    write(StandIn(), folder, out)
    before = (out / 'predictions.json').read_text()
    with pytest.raises(ExistingFileError, match=r"checkpoint 'a\.pth' \(now 'b\.pth'\)"):
        write(StandIn(), folder, out, settings=dict(checkpoint='b.pth'))
    (out / 'progress.jsonl').unlink()
    with pytest.raises(ExistingFileError, match=r'has a predictions\.json and no progress\.jsonl'):
        write(StandIn(), folder, out)
    assert (out / 'predictions.json').read_text() == before


def test_kinds(folder, tmp_path):
    write_video(tmp_path / 'film.avi', [np.zeros((32, 48, 3), np.uint8)])
    images, film = find_items(folder), find_items(tmp_path / 'film.avi')
    detector, segmenter = StandIn(), StandIn(masks=True)
    assert default_kinds(detector, images) == ('json', 'pictures')
    assert default_kinds(segmenter, images) == ('masks', 'pictures')
    assert default_kinds(detector, film) == ('json', 'video')
    assert default_kinds(detector, [*images, *film]) == ('json', 'pictures', 'video')
    with pytest.raises(InputError, match='--save masks: of StandIn, json, pictures, video can be saved'):
        check_kinds(detector, images, ('masks',))
    with pytest.raises(InputError, match='there is no video among the sources'):
        check_kinds(detector, images, ('video',))
