"""What ``mmcnv2 init yolo`` makes of label files and ``data.yaml``: boxes, polygons and areas computed by hand."""

import json

import pytest
from helpers.commands import call, refusal
from helpers.foreign_data import picture, yolo_folder
from mmengine.config import Config
from PIL import Image

from mmcnv2.own_data import writing

# Images are 128 pixels wide and 96 high.
BOX = '1 0.5 0.5 0.25 0.5'
TRIANGLE = '0 0.125 0.125 0.5 0.125 0.125 0.5'


@pytest.fixture
def init(tmp_path, monkeypatch, capsys):
    """Writes a config; returns what was printed, the config and the contents of the annotation files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(writing, 'draw_overview', lambda *_: None)  # takes a second; test_three_commands.py draws

    def init(path, *arguments):
        call('init', 'yolo', path, '--out', 'mine.py', '--force', *arguments)
        cfg = Config.fromfile('mine.py')
        files = [json.loads((tmp_path / f'mine_{split}.json').read_text()) for split in ('train', 'val')]
        return capsys.readouterr().out, cfg, *files

    return init


@pytest.fixture
def data(tmp_path):
    """Two images to train on and two to validate on, with two boxes each."""
    yolo_folder(tmp_path / 'data', 2, parts=('train', 'val'))
    return tmp_path / 'data'


def label(data, text, name='train/coin 0'):
    (data / f'labels/{name}.txt').write_text(text)


def objects(content, image='images/train/coin 0.png'):
    (image_id,) = [entry['id'] for entry in content['images'] if entry['file_name'] == image]
    return [
        (a['category_id'], a['bbox'], a['area'], a['segmentation'])
        for a in content['annotations']
        if a['image_id'] == image_id
    ]


# ---- labels ----


def test_boxes(data, init):
    label(data, BOX)
    said, cfg, train, val = init(data)
    # Centre (64, 48), 32 wide and 48 high; of class 1.
    assert objects(train) == [(1, [48, 24, 32, 48], 1536, [])]
    # Centre (32, 24), 16 wide and 24 high; of class 0.
    assert objects(val, 'images/val/coin 1.png')[1] == (0, [24, 12, 16, 24], 384, [])
    assert train['categories'] == [dict(id=0, name='cat'), dict(id=1, name='dog')] and cfg.classes == ('cat', 'dog')
    assert cfg.model.type == 'FasterRCNN' and 'boxes only: Faster R-CNN' in said
    assert {a['id'] for a in train['annotations']} == {1, 2, 3}


def test_polygons(data, init):
    for part in ('train', 'val'):
        for i in range(2):
            label(data, f'{TRIANGLE}\n1 0.5 0.5 1.0 0.5 1.0 1.0 0.75 0.75 0.5 1.0\n', f'{part}/coin {i}')
    said, cfg, train, _ = init(data)
    triangle, notched = objects(train)
    # Legs of 48 and 36 pixels.
    assert triangle == (0, [16, 12, 48, 36], 48 * 36 / 2, [[16, 12, 64, 12, 16, 48]])
    # 64 wide and 48 high, without a triangle of base 64 and height 24 from below.
    assert notched == (1, [64, 48, 64, 48], 64 * 48 - 64 * 24 / 2, [[64, 48, 128, 48, 128, 96, 96, 72, 64, 96]])
    assert cfg.model.type == 'MaskRCNN' and 'boxes and masks: Mask R-CNN' in said


def test_boxes_among_polygons(data, init):
    """Few boxes become regions to ignore, as in COCO's format; else the polygons become boxes. Both are counted."""
    label(data, f'{TRIANGLE}\n{BOX}')
    said, cfg, train, _ = init(data)
    assert cfg.model.type == 'FasterRCNN' and '7 objects have no mask, so that boxes are trained on' in said
    for part in ('train', 'val'):
        for i in range(2):
            label(data, '\n'.join(f'0 0 0 0.5 0 0.{j}5 0.5' for j in range(1, 6)), f'{part}/coin {i}')
    label(data, f'{TRIANGLE}\n{BOX}')
    said, cfg, train, _ = init(data)
    assert cfg.model.type == 'MaskRCNN' and '1 objects without a mask become regions to ignore' in said
    assert [a['iscrowd'] for a in train['annotations']][:2] == [0, 1]


def test_a_rotated_photograph(data, init):
    """Shares are of the image as viewers show it: 96 wide and 128 high."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = data / 'images/train/coin 0.jpg'
    Image.open(data / 'images/train/coin 0.png').save(path, exif=exif)
    (data / 'images/train/coin 0.png').unlink()
    label(data, BOX)
    _, _, train, _ = init(data)
    assert objects(train, 'images/train/coin 0.jpg') == [(1, [36, 32, 24, 64], 1536, [])]


def test_what_is_odd_is_counted(data, init):
    (data / 'labels/train/coin 0.txt').unlink()
    label(data, '', 'val/coin 0')
    label(data, f'\n{BOX}\n{BOX}\n1 0.95 0.5 0.25 0.5\n1 1.0004 0.5 0.5 0.5\n0 0.5 0.5 0 0.5', 'train/coin 1')
    label(data, BOX, 'train/gone')
    (data / 'images/train/broken.png').write_bytes(b'no image')
    label(data, BOX, 'train/broken')
    picture(data / 'images/val/coin 1.bmp', 3)
    said, _, train, val = init(data)
    for line in (
        'train: 1 images have no label file: taken as without objects (images/train/coin 0.png)',
        'train: 1 objects are there twice in their file: taken once (coin 1.txt, line 3)',
        'train: 1 label files without an image are left out (labels/train/gone.txt)',
        'train: 1 images that cannot be read are left out (images/train/broken.png)',
        'train: 2 boxes that are partly outside their image are cut',
        'train: 1 annotations without area, outside their image or marked ignore are skipped',
        'val: 2 images have the same label file as another',
        '1 image without objects: kept',
    ):
        assert line in said, said
    # 0.825 to 1.075 of 128, cut at 128; and from 0.75.
    boxes = [box for _, box, _, _ in objects(train, 'images/train/coin 1.png')]
    assert boxes == [[48, 24, 32, 48], pytest.approx([105.6, 24, 22.4, 48]), [96, 24, 32, 48], [64, 24, 0, 48]]
    assert objects(val, 'images/val/coin 0.png') == []


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('1 0.5 0.5 0.25', 'line 1: 4 values: expected class cx cy w h, or class and the x and y of three points'),
        (f'{BOX}\n{BOX} 0.9', 'line 2: 6 values (a confidence at the end is that of predictions): expected class cx'),
        ('1 0.1 0.1 0.2 0.2 0.3 0.3 0.4', 'line 1: 8 values: expected'),
        ('\n1 a b c d', "line 2: expected numbers, got '1 a b c d'"),
        ('2 0.5 0.5 0.25 0.5', 'line 1: class 2: expected 0 to 1, the numbers of the names'),
        ('-1 0.5 0.5 0.25 0.5', 'line 1: class -1: expected'),
        ('0.5 0.5 0.5 0.25 0.5', 'line 1: class 0.5: expected'),
        ('1 64 48 32 48', 'line 1: 64 is not from 0 to 1: expected shares of the width and height, not pixels'),
        ('1 0.5 0.5 nan 0.5', 'line 1: nan is not from 0 to 1'),
        ('1 0.5 -0.002 0.5 0.5', 'line 1: -0.002 is not from 0 to 1'),
        ('1 2\n1 3\n1 4\n1 5', 'line 3: 2 values: expected'),
        ('1 2\n1 3\n1 4\n1 5', 'and 1 more. Correct or remove these lines'),
    ],
)
def test_bad_lines_name_file_and_line(data, tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    label(data, text)
    error = refusal('init', 'yolo', 'data', '--out', 'mine.py')
    assert f'{data / "labels/train/coin 0.txt"}, line ' in error and message in error
    assert not (tmp_path / 'mine.py').exists()


# ---- data.yaml ----


def describe(data, text):
    (data / 'data.yaml').write_text(text)


def test_paths_as_exporters_write_them(data, init):
    """Paths that start one folder too deep, several folders, a list, a path of elsewhere, names like YAML's no."""
    (data / 'lists').mkdir()
    (data / 'lists/val.txt').write_text('../images/val/coin 0.png\n../images/val/gone.png\n')
    describe(data, 'path: /nowhere\ntrain: [../images/train, images/val]\nval: lists/val.txt\nnc: 2\nnames: [no, 7]')
    said, cfg, train, val = init(data / 'data.yaml')
    assert cfg.classes == ('no', '7')
    assert (len(train['images']), len(val['images'])) == (4, 1)
    assert 'train: 1 paths of data.yaml are absent here: the folder of the file is taken (/nowhere)' in said
    assert 'val: 1 images are also trained on: the validation flatters (images/val/coin 0.png)' in said
    assert 'val: 1 images without a file are left out (images/val/gone.png)' in said


def test_without_a_validation_part_every_fifth_is_held_out(tmp_path, init):
    yolo_folder(tmp_path / 'data', 5)
    said, _, train, val = init(tmp_path / 'data')
    assert (len(train['images']), len(val['images'])) == (4, 1) and 'every fifth image held out' in said


def test_without_data_yaml(data, init):
    """Classes and parts by options, or by classes.txt and the names of folders; labels beside the images."""
    (data / 'data.yaml').unlink()
    _, cfg, train, _ = init(data, '--train', 'images/val', '--val', 'images/train', '--classes', 'coin', 'note')
    assert cfg.classes == ('coin', 'note') and train['images'][0]['file_name'] == 'images/val/coin 0.png'
    flat = data.parent / 'flat'
    for part in ('a', 'valid'):
        picture(flat / part / '1.png', 1)
        (flat / part / '1.txt').write_text(BOX)
    (flat / 'a/classes.txt').write_text('coin\nnote\n')
    said, cfg, train, val = init(flat)
    assert cfg.classes == ('coin', 'note') and 'without an image' not in said
    assert (train['images'][0]['file_name'], val['images'][0]['file_name']) == ('a/1.png', 'valid/1.png')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('train: images/train', 'the classes have no names: expected `names` in data.yaml'),
        ('names: [a, b]', 'data.yaml has no `train`: expected a folder of images; or name it with --train FOLDER'),
        ('train: images/x\nnames: [a, b]', 'data.yaml: train: images/x is not in'),
        ('train: images/train\nval: images/x\nnames: [a, b]', 'data.yaml: val: images/x is not in'),
        ('train: images/train\nnc: 3\nnames: [a, b]', 'nc is 3, but there are 2 names: a, b'),
        ('train: images/train\nnames: {0: a, 2: b}', 'names: expected the numbers 0, 1, ..., 1, got 0, 2'),
        ('train: images/train\nkpt_shape: [17, 3]\nnames: [a]', 'kpt_shape: its labels are poses, which are not read'),
        ('names: [a', 'data.yaml is no valid YAML'),
        ('text', "expected YOLO's data.yaml, with train, val and names, got 'text'"),
        ('train: empty.txt\nnames: [a, b]', 'train: empty.txt lists no images'),
        ('train: images/bare\nnames: [a, b]', 'no image to train on has labels: looked for instance for '),
    ],
)
def test_descriptions_that_cannot_be_used(data, tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    describe(data, text)
    (data / 'empty.txt').touch()
    picture(data / 'images/bare/1.png', 1)
    assert message in refusal('init', 'yolo', 'data', '--out', 'mine.py')


def test_two_descriptions_are_asked_about(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (data / 'data.yaml').rename(data / 'a.yaml')
    (data / 'b.yaml').touch()
    assert 'has several .yaml files: a.yaml, b.yaml' in refusal('init', 'yolo', 'data', '--out', 'mine.py')
