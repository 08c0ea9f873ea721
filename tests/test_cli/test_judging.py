"""``mmcnv2 knn`` and ``mmcnv2 linear`` as a user calls them, on images whose classes are colours."""

import hashlib
import json
import logging
import sys

import cv2
import numpy as np
import pytest
import torch
from helpers.commands import call, refusal
from helpers.models import ARCH, OTHER_ARCH, build_backbone, build_fcmae
from helpers.processes import run
from mmengine.config import Config
from mmengine.logging import MMLogger
from PIL import Image

from mmcnv2.cli.judging import markdown_table
from mmcnv2.version import __version__

COLOURS = dict(red=(200, 40, 40), green=(40, 200, 40), blue=(40, 40, 200))
SMALL = ('--image-size', 32)
both_commands = pytest.mark.parametrize('command', ['knn', 'linear'])


def write_folders(folder, per_class, seed, colours=COLOURS):
    """Noisy images of one colour, in a folder for each."""
    rng = np.random.default_rng(seed)
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = np.clip(rng.normal(colour, 8, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f'{i}.png')
    return folder


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """The arguments for class folders."""
    root = tmp_path_factory.mktemp('colours')
    sides = write_folders(root / 'train', 8, 0), write_folders(root / 'val', 5, 1)
    return ('--train', sides[0], '--val', sides[1])


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """Of a pre-training, and the backbone alone of another size."""
    folder = tmp_path_factory.mktemp('checkpoints')
    torch.save(dict(state_dict=build_fcmae(ARCH).state_dict(), meta={}), folder / 'fcmae.pth')
    torch.save(build_backbone(OTHER_ARCH, out_norm=False).state_dict(), folder / 'other.pth')
    return [folder / 'fcmae.pth', folder / 'other.pth']


def table_rows(text):
    lines = [line for line in text.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if '---' not in line]


@both_commands
def test_two_checkpoints_and_their_random_rows(command, folders, checkpoints, tmp_path, capfd):
    files = {name: tmp_path / 'out' / f'results.{name}' for name in ('json', 'md', 'png')}
    outputs = ('--json', files['json'], '--markdown', files['md'], '--picture', files['png'])
    call(command, *checkpoints, *folders, *SMALL, *outputs, *(['--k', 3, 20] if command == 'knn' else []))
    printed = capfd.readouterr().out
    assert '24 samples to learn from, 15 to test on, 3 classes' in printed
    assert "'blue', the commonest class, would be right for 33.3 %, for 33.3 % in the mean" in printed

    report = json.loads(files['json'].read_text())
    assert report['command'] == command and report['versions']['mmcnv2'] == __version__
    assert report['versions']['torch'] == torch.__version__
    assert report['settings']['image_size'] == 32 and report['settings']['stages'] == [3]
    assert report['data']['classes'] == ['blue', 'green', 'red']
    assert (report['data']['train'], report['data']['val']) == (24, 15)
    names = [row['weights'] for row in report['rows']][:: 2 if command == 'knn' else 1]
    assert names[:2] == [str(path) for path in checkpoints]
    assert len(names) == 4 and all(name.startswith('random weights (ConvNeXtV2 ') for name in names[2:])
    assert str(ARCH['channels']) in names[2] and str(OTHER_ARCH['channels']) in names[3]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in checkpoints]
    for row in report['rows']:
        assert row['sha256'] == dict(zip(names, [*digests, None, None], strict=True))[row['weights']]
        assert row['top1'] == 100 and row['top1_interval'] == [100, 100]  # colours are easy, random or not
        assert 'top5' not in row  # of 3 classes

    header, *rows = table_rows(files['md'].read_text())
    assert table_rows(printed) == [header, *rows]
    second = 'k' if command == 'knn' else 'learning rate'
    assert header == ['weights', second, 'top-1 (%)', '95 % interval', 'mean of classes (%)']
    assert [row[0] for row in rows] == [row['weights'] for row in report['rows']]
    assert all(row[-3:] == ['100.0', '100.0 to 100.0', '100.0'] for row in rows)
    assert cv2.imread(str(files['png'])).shape[1] == 700
    if command == 'linear':
        (facts,) = report['rows'][0]['runs']
        assert str(facts['learning_rate']) in facts['held_out_top1'] and len(facts['held_out_top1']) == 7
        assert float(rows[0][1]) == facts['learning_rate']


@both_commands
def test_images_are_normalised_as_in_the_training(command, folders, tmp_path, capfd):
    """Weights whose config has another mean and std, and the same weights without one: other features."""
    preprocessor = dict(type='ImgDataPreprocessor', mean=[45.0] * 3, std=[70.0] * 3)
    cfg = Config(dict(model=dict(type='mmcnv2.FCMAE', data_preprocessor=preprocessor))).pretty_text
    weights = build_fcmae(ARCH).state_dict()
    torch.save(dict(state_dict=weights, meta=dict(cfg=cfg)), tmp_path / 'grey.pth')
    torch.save(dict(state_dict=weights), tmp_path / 'plain.pth')
    call(command, tmp_path / 'grey.pth', tmp_path / 'plain.pth', *folders, *SMALL, '--json', tmp_path / 'a.json')
    printed = capfd.readouterr().out
    said = 'mean 45, 45, 45, std 70, 70, 70'
    assert f'{tmp_path / "grey.pth"}: images are normalised as in its training, {said}' in printed
    assert 'plain.pth: images' not in printed
    kinds = {
        row['weights']: row['normalization']['mean'] for row in json.loads((tmp_path / 'a.json').read_text())['rows']
    }
    imagenet = [123.675, 116.28, 103.53]
    assert [*kinds.values()] == [[45] * 3, imagenet, [45] * 3, imagenet]
    grey, plain = [*kinds][2:]
    assert plain.startswith('random weights (ConvNeXtV2 ') and grey == f'{plain.removesuffix(")")}, {said})'


@both_commands
def test_labels_that_mean_nothing(command, checkpoints, tmp_path, capfd):
    """The same colour in all classes: the interval holds chance. More than five classes: top-5 as well."""
    grey = {f'class {i}': (128, 128, 128) for i in range(8)}
    train, val = write_folders(tmp_path / 'train', 4, 0, grey), write_folders(tmp_path / 'val', 12, 1, grey)
    path = tmp_path / 'results.json'
    options = (*SMALL, '--json', path, '--labels-per-class', 3, '--seeds', 0, 1, 2)
    call(command, checkpoints[0], '--train', train, '--val', val, *options)
    rows = json.loads(path.read_text())['rows']
    for row in rows:
        assert [run['seed'] for run in row['runs']] == [0, 1, 2]
        for top in ('top1', 'top5'):
            values = [run[top] for run in row['runs']]
            assert row[top] == pytest.approx(np.mean(values))
            assert row[f'{top}_std'] == pytest.approx(np.std(values, ddof=1))
            assert row[f'{top}_interval'][0] <= row[top] <= row[f'{top}_interval'][1]
        assert row['class_mean'] == pytest.approx(row['top1'])  # as many images of each class
        assert row['class_mean_std'] == pytest.approx(row['top1_std'])
        assert row['top1_interval'][0] < 100 / 8 + 5 and row['top1'] < 30
        assert row['top5'] == pytest.approx(100 * 5 / 8, abs=20)
    assert ' ± ' in capfd.readouterr().out


def test_k_beyond_the_training_samples(folders, checkpoints, tmp_path, capfd):
    path = tmp_path / 'results.json'
    call('knn', checkpoints[0], *folders, *SMALL, '--json', path, '--seeds', 0, 1)
    printed = capfd.readouterr().out
    assert 'k 100, 200: there are 24 samples to learn from, all of them vote' in printed
    assert 'one seed is computed' in printed
    assert [row['k'] for row in json.loads(path.read_text())['rows']] == [10, 20, 24] * 2


@both_commands
def test_lists_and_stages(command, folders, checkpoints, tmp_path, capfd):
    """As class folders, with the labels of a list."""
    for side, folder in zip(('train', 'val'), folders[1::2], strict=True):
        paths = sorted(folder.glob('*/*.png'))
        lines = [f'{path.relative_to(folder)} {list(COLOURS).index(path.parent.name)}\n' for path in paths]
        (tmp_path / f'{side}.txt').write_text(''.join(lines))
    lists = ('--train-list', tmp_path / 'train.txt', '--val-list', tmp_path / 'val.txt')
    call(command, checkpoints[0], *folders, *lists, *SMALL, '--stages', 1, 3, '--json', tmp_path / 'results.json')
    report = json.loads((tmp_path / 'results.json').read_text())
    assert report['data']['classes'] == ['0', '1', '2']
    assert report['rows'][0]['top1'] == 100


@both_commands
def test_objects_of_a_coco_file(command, checkpoints, tmp_path, capfd):
    """A red and a blue square on grey in every image; whole images would all look alike."""
    images, annotations = [], []
    for i in range(12):
        pixels = np.full((64, 64, 3), 128, np.uint8)
        places = [(4, 4), (36, 36)]
        for label, (x, y) in enumerate(places if i % 2 else places[::-1]):
            pixels[y : y + 20, x : x + 20] = list(COLOURS.values())[2 * label]
            annotation = dict(id=len(annotations), image_id=i, category_id=label, bbox=[x, y, 20, 20], iscrowd=0)
            annotations.append(annotation)
        Image.fromarray(pixels).save(tmp_path / f'{i}.png')
        images.append(dict(id=i, file_name=f'{i}.png', width=64, height=64))
    categories = [dict(id=i, name=name) for i, name in enumerate(('red', 'blue'))]
    content = dict(images=images, annotations=annotations, categories=categories)
    (tmp_path / 'coco.json').write_text(json.dumps(content))
    arguments = ('--coco', tmp_path / 'coco.json', '--images', tmp_path, '--json', tmp_path / 'results.json')
    call(command, checkpoints[0], *arguments, *SMALL)
    report = json.loads((tmp_path / 'results.json').read_text())
    assert (report['data']['train'], report['data']['val']) == (16, 8)
    assert [row['top1'] for row in report['rows'] if row.get('k', 10) == 10] == [100, 100]


def test_an_unreadable_image_costs_itself(folders, checkpoints, tmp_path, monkeypatch):
    train = write_folders(tmp_path / 'train', 4, 0)
    (train / 'red' / '2.png').write_bytes(b'no image')
    records = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handle', records.append)
    call('knn', checkpoints[0], '--train', train, *folders[2:], *SMALL, '--k', 3, '--json', tmp_path / 'results.json')
    (warning,) = (record.getMessage() for record in records if record.levelno >= logging.WARNING)
    assert 'Skipped an unreadable image' in warning and 'red/2.png' in warning
    report = json.loads((tmp_path / 'results.json').read_text())
    assert report['data']['train'] == 11 and report['rows'][0]['top1'] == 100


@pytest.mark.slow
def test_in_a_process_of_its_own(root, folders, checkpoints):
    done = run(root, sys.executable, '-m', 'mmcnv2', 'knn', checkpoints[0], *folders, *SMALL, '--k', 5)
    assert done.returncode == 0, done.stderr
    assert [row[:2] for row in table_rows(done.stdout)[1:]] == [
        [str(checkpoints[0]), '5'],
        [f'random weights (ConvNeXtV2 {ARCH})', '5'],
    ]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((), 'the data are --train DIR --val DIR (class folders), or --train-list FILE'),
        (('--train', 'a'), 'give both arguments of one of these'),
        (('--coco', 'a', '--images', 'b', '--train', 'c', '--val', 'd'), 'give both arguments of one of these'),
        (('--stages', 4), '--stages must be among 0, 1, 2, 3, got 4'),
        (('--image-size', 33), '--image-size must be positive and divisible by 32, got 33'),
        (('--labels-per-class', 0), '--labels-per-class must be positive, got 0'),
        (('--val-share', 1), '--val-share must be above 0 and below 1, got 1.0'),
        (('--picture', 'a.txt'), '--picture must end in one of '),
        (('--json', '.'), '--json must be a file, and . is a folder'),
        (('--device', 'tpu'), 'device must be one of '),
    ],
)
@both_commands
def test_bad_arguments(command, arguments, message):
    assert message in refusal(command, 'a.pth', *arguments)


def test_bad_arguments_of_one_command():
    assert '--k must be positive, got [0]' in refusal('knn', 'a.pth', '--k', 0)
    assert '--learning-rates must be positive' in refusal('linear', 'a.pth', '--learning-rates', -1)


@both_commands
def test_bad_data(command, folders, checkpoints, tmp_path):
    assert 'checkpoint absent.pth does not exist' in refusal(command, 'absent.pth', *folders)
    val = write_folders(tmp_path / 'val', 1, 0, dict(COLOURS, violet=(90, 0, 90)))
    assert 'lacks: violet' in refusal(command, checkpoints[0], *folders[:2], '--val', val)
    torch.save(build_backbone(ARCH, in_channels=1).state_dict(), tmp_path / 'grey.pth')
    message = refusal(command, tmp_path / 'grey.pth', *folders)
    assert 'grey.pth: images have 3 channels, and the network takes 1' in message


def test_intervals_are_rounded_outwards():
    row = dict(
        weights='a',
        k=10,
        top1=50.0,
        top1_interval=[45.19, 54.11],
        top1_std=None,
        class_mean=31.25,
        class_mean_std=0.5,
        runs=[{}],
    )
    assert markdown_table([row]).splitlines()[-1] == '| a | 10 | 50.0 | 45.1 to 54.2 | 31.2 ± 0.5 |'
