"""What ``mmcnv2 init coco`` and ``voc`` see in odd and broken data, and what they make of it."""

import json

import pytest
from helpers import foreign_data
from helpers.commands import call, refusal
from helpers.foreign_data import coco_folder, instances, picture, write_json
from mmengine.config import Config

from mmcnv2.own_data import writing

RLE = dict(size=[96, 128], counts=[96 * 10 + 20, 40, 56, 40, 96 * 128 - 96 * 10 - 156])


@pytest.fixture
def init(tmp_path, monkeypatch, capsys):
    """Writes a config; returns what was printed and the config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(writing, 'draw_overview', lambda *_: None)  # takes a second; test_three_commands.py draws

    def init(kind, data, *arguments):
        call('init', kind, data, '--out', 'mine.py', '--force', *arguments)
        return capsys.readouterr().out, Config.fromfile('mine.py')

    return init


def written(cfg, split='train'):
    """The annotation file that a config names for a split."""
    with open(cfg[f'{split}_file'], encoding='utf-8') as file:
        return json.load(file)


def test_every_fifth_image_with_objects_is_held_out(tmp_path, init):
    content = coco_folder(tmp_path / 'data', number=11)
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] != 1]
    write_json(tmp_path / 'data/annotations/instances_train.json', content)
    said, cfg = init('coco', tmp_path / 'data')
    held_out = [image['file_name'] for image in written(cfg, 'val')['images']]
    # Those with objects are 1 to 10 by name: 1, 10, 2, 3, 4, ...
    assert held_out == ['bild 4 äöü.png', 'bild 9 äöü.png']
    assert len(written(cfg)['images']) == 9
    assert '1 image without objects: kept' in said
    assert cfg.train_file == str(tmp_path / 'mine_train.json')


def test_what_is_fine_is_read_where_it_is(tmp_path, init):
    coco_folder(tmp_path / 'data', number=3)
    coco_folder(tmp_path / 'data', number=2, annotations='annotations/instances_val.json', folder='val', first_id=50)
    _, cfg = init('coco', tmp_path / 'data')
    assert cfg.train_file == str(tmp_path / 'data/annotations/instances_train.json')
    assert cfg.val_dataloader.dataset.data_prefix.img == cfg.test_dataloader.dataset.data_prefix.img == 'val'
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == cfg.val_file
    assert not list(tmp_path.glob('*.json'))


def test_layout_of_exporters(tmp_path, init):
    """A file beside the images of each part; a class that only stands above the others; no masks."""
    for folder, first in (('train', 1), ('valid', 100)):
        content = coco_folder(
            tmp_path / 'data', 3, f'{folder}/_annotations.coco.json', folder, masks=False, first_id=first
        )
        for category in content['categories']:
            category['supercategory'] = 'animals'
        content['categories'].insert(0, dict(id=0, name='animals', supercategory='none'))
        for annotation in content['annotations']:
            del annotation['iscrowd']
        write_json(tmp_path / 'data' / folder / '_annotations.coco.json', content)
    said, cfg = init('coco', tmp_path / 'data')
    assert cfg.classes == ('cat', 'dog') and cfg.model.type == 'FasterRCNN' and cfg.model.roi_head.mask_head is None
    assert not any(step.get('with_mask') for step in cfg.train_dataloader.dataset.pipeline)
    assert 'boxes only: Faster R-CNN' in said and "left out ('animals')" in said
    assert {annotation['iscrowd'] for annotation in written(cfg)['annotations']} == {0}


def test_odd_entries_are_mended_or_left_out_and_counted(tmp_path, init):
    content = coco_folder(tmp_path / 'data', number=6)
    a = content['annotations']
    a[1]['id'] = 1
    a[2]['bbox'] = [100, 20, 60, 40]  # 32 pixels beyond the right edge of 128
    a[3]['bbox'] = [float('nan'), 0, 10, 10]
    a[4]['category_id'] = 99
    a[5]['image_id'] = 99
    a[6]['segmentation'] = RLE
    a[7].update(iscrowd=1, segmentation=RLE)
    del a[8]['area']
    content['images'].append(dict(id=77, file_name='gone.png', width=9, height=9))
    content['images'][0].update(width=64)
    picture(tmp_path / 'data/val/other.png', 9)
    write_json(tmp_path / 'data/annotations/instances_train.json', content)
    write_json(tmp_path / 'data/annotations/instances_val.json', instances(['other.png'], ('dog', 'cat', 'cow')))
    said, cfg = init('coco', tmp_path / 'data')
    for line in (
        'train: 1 images without a file are left out (gone.png)',
        'train: 1 images of another size than the file says are left out: their boxes would be misplaced (bild 0 '
        'äöü.png is 128x96, not 64x96)',
        'train: 1 boxes that are partly outside their image are cut (id 3)',
        'train: 1 annotations have no area: that of the box is taken (annotations[8])',
        'val: 1 lists of classes are made those of the training part',
        '1 crowd, regions to ignore',
        '1 run lengths',
    ):
        assert line in said, said
    assert 'annotations that cannot be used are left out' in said
    boxes = [annotation['bbox'] for annotation in written(cfg)['annotations']]
    assert [100, 20, 28, 40] in boxes
    # dog is 1 in the file of validation, and 2 in that of training.
    assert [x['category_id'] for x in written(cfg, 'val')['annotations']] == [2, 1]


def test_few_objects_without_masks_are_ignored(tmp_path, init):
    content = coco_folder(tmp_path / 'data', number=6)
    content['annotations'][0]['segmentation'] = []
    write_json(tmp_path / 'data/annotations/instances_train.json', content)
    said, cfg = init('coco', tmp_path / 'data')
    assert cfg.model.type == 'MaskRCNN' and '1 objects without a mask become regions to ignore (id 1)' in said
    first = written(cfg)['annotations'][0]
    assert (first['iscrowd'], first['segmentation']) == (1, [[10, 20, 42, 20, 42, 60, 10, 60]])


def test_boxes_of_pascal_voc_count_from_one(tmp_path, init):
    foreign_data.voc_folder(tmp_path / 'cells')
    _, cfg = init('voc', tmp_path / 'cells')
    difficult, other = (written(cfg)['annotations'][i] for i in (1, 2))
    # xmin 11, ymin 21, xmax 42, ymax 60: columns 10 to 41 and rows 20 to 59, counted from 0.
    assert other['bbox'] == [10, 20, 32, 40] and other['iscrowd'] == 0
    assert difficult['bbox'] == [50, 20, 32, 40] and difficult['iscrowd'] == 1
    assert [image['width'] for image in written(cfg)['images']] == [128] * 5


def test_lists_of_pascal_voc_divide_the_data(tmp_path, init):
    foreign_data.voc_folder(tmp_path / 'cells')
    sets = tmp_path / 'cells/ImageSets/Main'
    sets.mkdir(parents=True)
    # VOC's names have no blanks.
    for path in (*(tmp_path / 'cells').glob('*/cell*'),):
        path.rename(path.with_name(path.name.replace(' ', '_')))
    (sets / 'train.txt').write_text('cell_0\ncell_1\ncell_2\n')
    (sets / 'val.txt').write_text('cell_5\n')
    _, cfg = init('voc', tmp_path / 'cells')
    assert len(written(cfg)['images']) == 3
    assert [image['file_name'] for image in written(cfg, 'val')['images']] == ['JPEGImages/cell_5.jpg']


# ---- broken data: one line each ----


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c.pop('categories'), "is not in COCO's format: expected an object with images, annotations, categ"),
        (lambda c: c.update(annotations=[]), 'no object is left to train on (it has no annotations)'),
        (lambda c: c['images'][1].update(id=1), 'the image id 1 stands for bild 0 äöü.png and bild 1 äöü.png'),
        (lambda c: c['categories'][0].update(id='1'), "categories[0]: 'id' must be int, got '1'"),
        (lambda c: [i.update(file_name='x.png') for i in c['images']], 'the images of '),
    ],
)
def test_broken_files(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    content = coco_folder(tmp_path / 'data', number=2)
    change(content)
    write_json(tmp_path / 'data/annotations/instances_train.json', content)
    assert message in refusal('init', 'coco', 'data', '--out', 'mine.py')
    assert not (tmp_path / 'mine.py').exists()


def test_what_cannot_be_guessed_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refusal('init', 'coco', 'nowhere', '--out', 'mine.py')
    assert 'nowhere is absent' in said
    (tmp_path / 'data').mkdir()
    assert '`mmcnv2 init voc`' in refusal('init', 'coco', 'data', '--out', 'mine.py')
    coco_folder(tmp_path / 'data', 2, 'a.json')
    coco_folder(tmp_path / 'data', 2, 'b.json')
    assert 'a.json, b.json. Name them: --train FILE --val FILE' in refusal('init', 'coco', 'data', '--out', 'mine.py')
    call('init', 'coco', 'data', '--out', 'mine.py', '--train', 'a.json', '--val', 'b.json')
    assert 'mine.py exists already' in refusal('init', 'coco', 'data/a.json', '--out', 'mine.py')
    (tmp_path / 'data/b.json').write_text('{"images": [')
    assert 'no valid JSON' in refusal('init', 'coco', 'data/b.json', '--out', 'other.py')
    for options, message in (
        (['--out', 'mine.txt'], '--out must end in .py'),
        (['--out', 'c.py', '--image-size', '100'], '--image-size must be divisible by 32, got 100'),
        (['--out', 'c.py', '--arch', 'small'], '--arch must be one of atto'),
        (['--out', 'c.py', '--checkpoint', 'none.pth'], '--checkpoint none.pth: no such file'),
        (['--out', 'c.py', '--val', 'none.json'], '--val none.json: neither in '),
    ):
        assert message in refusal('init', 'coco', 'data/a.json', *options)
    (tmp_path / 'cells').mkdir()
    assert 'no .xml file' in refusal('init', 'voc', 'cells', '--out', 'c.py')
    (tmp_path / 'cells/a.xml').write_text('<annotation>')
    picture(tmp_path / 'cells/a.png', 0)
    assert 'a.xml is no valid XML' in refusal('init', 'voc', 'cells', '--out', 'c.py')
