"""tools/train.py and tools/test.py on a few toy scenes; each kind of run once as a user starts it."""

import json
import re
import sys

import cv2
import numpy as np
import pytest
import torch
from helpers.launching import launch, launch_forked
from helpers.processes import assert_refused, run, run_forked
from helpers.training import CONFIG, data_options, load, pretrained, scalars
from mmengine.config import Config
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmcnv2.registry import MODELS

SHORT = {
    'fcmae': ['train_cfg.max_epochs=2', 'train_dataloader.batch_size=8'],
    'mask-rcnn': ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2'],
    'upernet': ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2'],
}
COMMON = [
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.checkpoint.max_keep_ckpts=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
]


def training(task, data, work_dir, *options, arguments=()):
    """The command of a short training."""
    settings = [*data_options(task, data), *SHORT[task], *COMMON, *options]
    return ['tools/train.py', CONFIG.format(task), '--work-dir', work_dir, *arguments, '--cfg-options', *settings]


@pytest.fixture(scope='module')
def pretraining(root, toy_scenes, tmp_path_factory):
    """The work dir of a pre-training run of two epochs."""
    work_dir = tmp_path_factory.mktemp('fcmae')
    launch(root, sys.executable, *training('fcmae', toy_scenes, work_dir))
    return work_dir


def test_pretraining_logs_and_saves(pretraining):
    records = [record for record in scalars(pretraining) if 'loss' in record]
    assert len(records) == 4  # 2 epochs of 16 images in batches of 8
    for key in ('loss', 'lr', 'images_per_s', 'memory', 'time'):
        assert all(record[key] > 0 for record in records), key
    (log,) = pretraining.glob('*/*.log')
    assert re.search(r'eta: \d:\d\d:\d\d', log.read_text())
    assert (pretraining / 'epoch_2.pth').is_file()
    (picture,) = (pretraining / 'reconstructions').iterdir()
    assert (pretraining / 'curves.png').is_file()
    assert picture.name == 'epoch_2.png'


def test_pretraining_resumes(root, toy_scenes, pretraining, tmp_path):
    (tmp_path / 'epoch_1.pth').write_bytes((pretraining / 'epoch_1.pth').read_bytes())
    launch_forked(root, *training('fcmae', toy_scenes, tmp_path, arguments=['--resume']))
    assert [record['epoch'] for record in scalars(tmp_path) if 'loss' in record] == [2, 2]


def test_evaluation_of_pretraining(root, toy_scenes, pretraining, tmp_path):
    """tools/test.py prints the loss on held-out images."""
    command = ['tools/test.py', CONFIG.format('fcmae'), pretraining / 'epoch_2.pth', '--work-dir', tmp_path]
    data = f'test_dataloader.dataset.data_root={toy_scenes}/val/'
    done = launch_forked(root, *command, '--cfg-options', data)
    error = float(re.search(r'fcmae/reconstruction_error: ([\d.]+)', done.stdout).group(1))

    model = MODELS.build(Config.fromfile(root / CONFIG.format('fcmae')).model)
    model.load_state_dict(load(pretraining / 'epoch_2.pth')['state_dict'])
    images = [cv2.imread(str(path))[..., ::-1].copy() for path in sorted((toy_scenes / 'val').iterdir())]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    normalised = (pixels - model.data_preprocessor.mean) / model.data_preprocessor.std
    with torch.no_grad():
        expected = torch.stack([model.eval().loss(normalised)['loss'] for _ in range(20)]).mean()
    # Other random masks, so the same up to what four images scatter.
    assert error == pytest.approx(float(expected), abs=0.1)


def check_start(printed, work_dir, checkpoint):
    """The console has what matters before the first iteration, the log file all of it."""
    start = printed.split('Iter(train)')[0]
    assert len(start.splitlines()) <= 24
    assert f'weights:    backbone from {checkpoint}' in start
    assert 'training:   8 images, 2 an iteration and process; 2 iterations, of which 0 are done' in start
    # The detector has no map of stride 4.
    assert re.search('output norms (norm0, )?norm1, norm2, norm3 start fresh', start) and 'missing' not in start
    (log,) = work_dir.glob('*/*.log')
    text = log.read_text()
    assert f'log:        {log}' in start
    for listing in (
        'System environment',
        '\nrandomness = dict',
        'Hooks will be executed',
        'paramwise_options -- backbone',
    ):
        assert listing in text and listing not in printed


@pytest.mark.parametrize(('task', 'metric'), [('mask-rcnn', 'coco/segm_mAP'), ('upernet', 'mIoU')])
def test_transfer(root, toy_scenes, pretraining, tmp_path, task, metric):
    """Training starts from the FCMAE checkpoint; tools/test.py repeats the validation, draws and saves predictions.

    Pictures are at the same place for both, as deep in folders as the images.
    """
    checkpoint = pretraining / 'epoch_2.pth'
    frozen = [*pretrained(checkpoint), 'optim_wrapper.optimizer.lr=0.0']
    done = launch(root, sys.executable, *training(task, toy_scenes, tmp_path / 'train', *frozen))
    check_start(done.stdout, tmp_path / 'train', checkpoint)
    before, after = (load(path)['state_dict'] for path in (checkpoint, tmp_path / 'train/iter_2.pth'))
    backbone = [key for key in before if key.startswith('backbone.')]
    assert len(backbone) == 136  # atto: 4 x 4 in stem and downsampling, 12 blocks of 10 tensors
    assert all(torch.equal(before[key], after[key]) for key in backbone)

    launch_forked(
        root,
        *('tools/test.py', CONFIG.format(task), tmp_path / 'train/iter_2.pth'),
        *('--work-dir', tmp_path / 'test', '--show-dir', tmp_path / 'pictures'),
        *('--out', tmp_path / ('out/results.json' if task == 'mask-rcnn' else 'out')),
        *('--cfg-options', f'test_dataloader.dataset.data_root={toy_scenes}'),
    )
    pictures = [path.relative_to(tmp_path / 'pictures') for path in (tmp_path / 'pictures').rglob('*.*')]
    assert sorted(map(str, pictures)) == sorted(path.name for path in (toy_scenes / 'val').iterdir())
    (result,) = (tmp_path / 'test').glob('*/*.json')
    value = json.loads(result.read_text())[metric]
    assert value == scalars(tmp_path / 'train')[-1][metric]
    saved = coco_map(toy_scenes, tmp_path / 'out/results.json') if task == 'mask-rcnn' else miou(toy_scenes, tmp_path)
    assert saved == pytest.approx(value, abs=1e-3 if task == 'mask-rcnn' else 0.006)  # as they round


def coco_map(toy_scenes, results):
    """The mask AP of a file of results, by COCO's own tools, which refuse ids that the annotations do not have."""
    truth = COCO(toy_scenes / 'annotations/instances_val.json')
    content = json.loads(results.read_text())
    assert {one['category_id'] for one in content} <= set(truth.getCatIds()) and all('bbox' in one for one in content)
    assert min(truth.getCatIds()) == 1
    evaluation = COCOeval(truth, truth.loadRes(str(results)), 'segm')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]


def miou(toy_scenes, tmp_path):
    """The mean IoU of the label maps in ``out`` over the classes that occur, by its definition."""
    files = sorted((toy_scenes / 'semantic/val').glob('*.png'))
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {path.name for path in files}
    truth, found = (
        np.stack([cv2.imread(str(folder / path.name), cv2.IMREAD_UNCHANGED) for path in files])
        for folder in (toy_scenes / 'semantic/val', tmp_path / 'out')
    )
    assert found.dtype == np.uint8 and found.shape == truth.shape
    union = [((truth == label) | (found == label)).sum() for label in range(7)]
    both = [((truth == label) & (found == label)).sum() for label in range(7)]
    return 100 * np.mean([b / u for b, u in zip(both, union, strict=True) if u])


def test_two_processes_read_shards(root, toy_scenes, tmp_path):
    """With the options of docs/how_to/data.md."""
    shards = tmp_path / 'shards'
    command = ['tools/dataset_tools/make_shards.py', toy_scenes / 'unlabelled', shards, '--max-images', 5]
    launch_forked(root, *command)
    settings = [
        'train_dataloader.sampler.type=ChunkedSampler',
        'train_dataloader.dataset.type=UnlabelledShards',
        f'train_dataloader.dataset.data_root={shards}',
        'train_dataloader.dataset.shards={000000..000003}.tar',
        'train_dataloader.batch_size=4',
        'train_cfg.max_epochs=1',
        'default_hooks.logger.interval=1',
    ]
    train = ['tools/train.py', CONFIG.format('fcmae'), '--work-dir', tmp_path / 'run', '--cfg-options', *settings]
    done = launch_forked(root, *train, processes=2)
    assert 'cpu, 2 process(es)' in done.stdout
    assert len([record for record in scalars(tmp_path / 'run') if 'loss' in record]) == 2  # 16 images / (2 x 4)

    (shards / '000002.tar').unlink()
    done = run_forked(root, *train)
    assert_refused(done, f'train_dataloader.dataset.shards: {shards}/000002.tar does not exist')


def test_error_as_a_user_sees_it(root):
    done = run(root, sys.executable, 'tools/train.py', 'configs/toy/fcmae_convnextv2-ato_toy-scenes.py')
    assert_refused(done, 'did you mean mmcnv2::toy/fcmae_convnextv2-atto')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            [CONFIG.format('mask-rcnn'), '--cfg-options', 'train_dataloader.dataset.data_root=/no/such/folder'],
            'train_dataloader.dataset.data_root: /no/such/folder does not exist',
        ),
        ([CONFIG.format('upernet'), '--cfg-options', 'load_from=/no/checkpoint.pth'], '/no/checkpoint.pth'),
    ],
)
def test_train_names_what_is_missing(root, toy_scenes, tmp_path, arguments, message):
    arguments = [*arguments, '--work-dir', tmp_path]
    if 'load_from' in str(arguments):
        arguments[2:2] = data_options('upernet', toy_scenes)
    assert_refused(run_forked(root, 'tools/train.py', *arguments), message)


def test_checkpoint_of_another_model_is_refused(root, toy_scenes, pretraining, tmp_path):
    data = f'test_dataloader.dataset.data_root={toy_scenes}'
    command = ['tools/test.py', CONFIG.format('upernet'), pretraining / 'epoch_2.pth']
    done = run_forked(root, *command, '--work-dir', tmp_path, '--cfg-options', data)
    assert_refused(done, 'does not fit the model of the config', 'backbone.norm0.weight is missing')


def test_transfer_to_another_size_is_refused(root, toy_scenes, pretraining, tmp_path):
    options = pretrained(pretraining / 'epoch_2.pth')
    sizes = ['model.backbone.arch=femto', 'model.decode_head.in_channels=[48,96,192,384]']
    options = [*options, *sizes, 'model.auxiliary_head.in_channels=192']
    done = run_forked(root, *training('upernet', toy_scenes, tmp_path, *options))
    assert_refused(done, 'epoch_2.pth does not fit this ConvNeXtV2; 136 of 144 tensors disagree')
