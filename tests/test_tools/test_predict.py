"""``mmcnv2 predict`` beside ``mmcnv2 test``: a detector that has learned a few scenes by heart, and a segmenter."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from helpers.commands import call, refusal
from helpers.launching import launch_forked
from helpers.training import CONFIG
from mmengine.registry import DefaultScope
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmcnv2.apis import Predictor, get_config
from mmcnv2.registry import MODELS
from mmcnv2.utils.run_log import read_log

FEW, ITERATIONS = 4, 60


@pytest.fixture(scope='module')
def scenes(toy_scenes, tmp_path_factory):
    """A few scenes, each in a folder of its own, and their annotations."""
    folder = tmp_path_factory.mktemp('scenes')
    content = json.loads((toy_scenes / 'annotations/instances_train.json').read_text())
    content['images'] = content['images'][:FEW]
    for image in content['images']:
        name = f'{image["id"]}/{image["file_name"]}'
        (folder / 'images' / name).parent.mkdir(parents=True)
        shutil.copy(toy_scenes / 'train' / image['file_name'], folder / 'images' / name)
        image['file_name'] = name
    kept = {image['id'] for image in content['images']}
    content['annotations'] = [one for one in content['annotations'] if one['image_id'] in kept]
    (folder / 'coco.json').write_text(json.dumps(content))
    return folder


def options(data, split, evaluator=True):
    """What points a split of the detector's config to the scenes."""
    values = {'dataset.data_root': f'{data}/', 'dataset.ann_file': 'coco.json', 'dataset.data_prefix.img': 'images/'}
    given = [f'{split}_dataloader.{key}={value}' for key, value in values.items()]
    return given + [f'{split}_evaluator.ann_file={data}/coco.json'] * evaluator


@pytest.fixture(scope='module')
def detector(root, scenes, tmp_path_factory):
    """Config and checkpoint of a Mask R-CNN that was trained on these scenes and no others."""
    folder, config = tmp_path_factory.mktemp('detector'), CONFIG.format('mask-rcnn')
    lengths = [f'train_cfg.{key}={ITERATIONS}' for key in ('max_iters', 'val_interval')]
    more = [*options(scenes, 'train', False), *options(scenes, 'val'), *lengths, 'optim_wrapper.optimizer.lr=2e-3']
    more += [f'default_hooks.checkpoint.interval={ITERATIONS}', 'train_dataloader.num_workers=0']
    more += ['train_dataloader.persistent_workers=False']
    launch_forked(root, 'tools/train.py', config, '--work-dir', folder, '--cfg-options', *more)
    return root / config, folder / f'iter_{ITERATIONS}.pth'


def average_precision(scenes, found, kind):
    coco = COCO(str(scenes / 'coco.json'))
    evaluation = COCOeval(coco, coco.loadRes(found), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]


def test_predictions_score_as_in_a_test(root, scenes, detector, tmp_path):
    ids, out = scenes / 'coco.json', tmp_path / 'out'
    call(
        'predict', *detector, scenes / 'images', '--out', out, '--score-threshold', 0, '--save', 'json', '--coco', ids
    )
    found = json.loads((out / 'predictions.json').read_text())['annotations']
    work_dir = ('--work-dir', tmp_path / 'test')
    launch_forked(root, 'tools/test.py', *detector, *work_dir, '--cfg-options', *options(scenes, 'test'))
    (log,) = (tmp_path / 'test').glob('*/*.json')
    tested = json.loads(log.read_text())
    for kind in ('bbox', 'segm'):
        scored = average_precision(scenes, found, kind)
        assert scored > 0.2  # it has learned something
        assert tested[f'coco/{kind}_mAP'] == pytest.approx(scored, abs=1e-3)


def test_objects_that_were_learned_are_found(scenes, detector):
    coco = COCO(str(scenes / 'coco.json'))
    hits = total = 0
    for result in Predictor(*detector, device='cpu', score_threshold=0.3)(scenes / 'images'):
        image_id = int(result.path.split('/')[-2])
        for annotation in coco.imgToAnns[image_id]:
            true = coco.annToMask(annotation).astype(bool)
            same = result.masks[result.labels == annotation['category_id'] - 1]
            overlaps = [(mask & true).sum() / (mask | true).sum() for mask in same]
            hits += max(overlaps, default=0) > 0.5
            total += 1
    assert hits >= total / 2


def test_label_maps_score_as_in_a_test(root, toy_scenes, tmp_path):
    config = root / CONFIG.format('upernet')
    cfg = get_config('toy/upernet_convnextv2-atto_toy-scenes')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    model.decode_head.conv_seg.weight.data.normal_()  # else one class wins everywhere
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'random.pth')

    call('predict', config, tmp_path / 'random.pth', toy_scenes / 'val', '--out', tmp_path / 'out', '--save', 'masks')
    data = [f'test_dataloader.dataset.data_root={toy_scenes}/']
    work_dir = ('--work-dir', tmp_path / 'test')
    launch_forked(root, 'tools/test.py', config, tmp_path / 'random.pth', *work_dir, '--cfg-options', *data)
    (log,) = (tmp_path / 'test').glob('*/*.json')
    both, either = np.zeros(7), np.zeros(7)
    for path in (tmp_path / 'out/label_maps').iterdir():
        predicted, true = (np.asarray(Image.open(file)) for file in (path, toy_scenes / 'semantic/val' / path.name))
        for label in range(7):
            both[label] += ((predicted == label) & (true == label)).sum()
            either[label] += (((predicted == label) | (true == label)) & (true != 255)).sum()
    ious = both[either > 0] / either[either > 0]
    assert 0 < ious.mean() < 1
    assert json.loads(log.read_text())['mIoU'] == pytest.approx(100 * ious.mean(), abs=0.01)


def test_damaged_file_costs_that_file(root, toy_scenes, tmp_path, capsys):
    cfg = get_config('toy/fcmae_convnextv2-atto_toy-scenes')
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'random.pth')
    (tmp_path / 'in').mkdir()
    shutil.copy(next((toy_scenes / 'val').glob('*.jpg')), tmp_path / 'in/scene.jpg')
    (tmp_path / 'in/bad.jpg').write_bytes(b'no image')
    command = (
        'predict',
        root / CONFIG.format('fcmae'),
        tmp_path / 'random.pth',
        tmp_path / 'in',
        '--out',
        tmp_path / 'out',
    )
    with pytest.raises(SystemExit) as stop:
        call(*command)
    assert stop.value.code == 3
    printed = capsys.readouterr()
    assert '1 images predicted' in printed.out and 'error: 1 files could not be read' in printed.err
    written = sorted(path.name for path in (tmp_path / 'out').rglob('*') if path.is_file())
    assert written == ['errors.jsonl', 'progress.jsonl', 'scene.jpg']
    assert Image.open(tmp_path / 'out/pictures/scene.jpg').size == (3 * 132 - 4, 128)


def test_refusals(root, tmp_path):
    config = root / CONFIG.format('fcmae')
    assert 'nowhere.jpg' in refusal('predict', config, 'a.pth', tmp_path / 'nowhere.jpg', '--out', tmp_path / 'out')
    (tmp_path / 'a.jpg').touch()
    assert 'a.pth does not exist' in refusal('predict', config, 'a.pth', tmp_path, '--out', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_report_of_the_training(detector):
    folder = detector[1].parent
    call('report', folder, '--checkpoint', detector[1], '--device', 'cpu')
    with (folder / 'report/classes.csv').open() as file:
        header, *_, mean = csv.reader(file)
    scores = dict(zip(header, mean, strict=True))
    for kind, name in (('bbox', 'box AP'), ('segm', 'mask AP')):
        logged = read_log(folder).validation[f'coco/{kind}_mAP'][-1][1]
        assert float(scores[name]) == pytest.approx(logged, abs=1e-3)  # of the same weights and images
    assert (folder / 'report/precision_recall_mask.png').is_file()
    assert '>The 4 worst images<' in (folder / 'report/report.html').read_text()
