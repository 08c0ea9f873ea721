"""tools/train.py, tools/test.py and dist_train.sh started as a user starts them, on a few toy scenes."""

import json
import re
import sys

import cv2
import numpy as np
import pytest
import torch
from helpers.processes import run
from mmengine.config import Config

from mmcnv2.registry import MODELS

CONFIG = 'configs/toy/{}_convnextv2-atto_toy-scenes.py'
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


def data_options(task, data):
    folders = dict(train='unlabelled/') if task == 'fcmae' else dict(train='', val='')
    return [f'{split}_dataloader.dataset.data_root={data}/{folder}' for split, folder in folders.items()]


def train(root, task, data, work_dir, *options, arguments=()):
    settings = [*data_options(task, data), *SHORT[task], *COMMON, *options]
    return run(
        root,
        sys.executable,
        'tools/train.py',
        CONFIG.format(task),
        '--work-dir',
        work_dir,
        *arguments,
        '--cfg-options',
        *settings,
    )


def scalars(work_dir):
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope='module')
def pretrained(root, toy_scenes, tmp_path_factory):
    """The work dir of a pre-training run of two epochs."""
    work_dir = tmp_path_factory.mktemp('fcmae')
    done = train(root, 'fcmae', toy_scenes, work_dir)
    assert done.returncode == 0, done.stderr[-2000:]
    return work_dir


def test_pretraining_logs_and_saves(pretrained):
    records = [record for record in scalars(pretrained) if 'loss' in record]
    assert len(records) == 4  # 2 epochs of 16 images in batches of 8
    for key in ('loss', 'lr', 'images_per_s', 'memory', 'time'):
        assert all(record[key] > 0 for record in records), key
    (log,) = pretrained.glob('*/*.log')
    assert re.search(r'eta: \d:\d\d:\d\d', log.read_text())
    assert (pretrained / 'epoch_2.pth').is_file()
    (picture,) = (pretrained / 'reconstructions').iterdir()
    assert picture.name == 'epoch_2.png'


def test_pretraining_resumes(root, toy_scenes, pretrained, tmp_path):
    checkpoint = torch.load(pretrained / 'epoch_1.pth', weights_only=False)
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    done = train(root, 'fcmae', toy_scenes, tmp_path, arguments=['--resume'])
    assert done.returncode == 0, done.stderr[-2000:]
    assert [record['epoch'] for record in scalars(tmp_path) if 'loss' in record] == [2, 2]


def test_evaluation_of_pretraining(root, toy_scenes, pretrained, tmp_path):
    """tools/test.py prints the loss on held-out images."""
    done = run(
        root,
        *(sys.executable, 'tools/test.py', CONFIG.format('fcmae'), pretrained / 'epoch_2.pth', '--work-dir', tmp_path),
        *('--cfg-options', f'test_dataloader.dataset.data_root={toy_scenes}/val/'),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    error = float(re.search(r'fcmae/reconstruction_error: ([\d.]+)', done.stdout).group(1))

    model = MODELS.build(Config.fromfile(root / CONFIG.format('fcmae')).model)
    model.load_state_dict(torch.load(pretrained / 'epoch_2.pth', weights_only=False)['state_dict'])
    images = [cv2.imread(str(path))[..., ::-1].copy() for path in sorted((toy_scenes / 'val').iterdir())]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    normalised = (pixels - model.data_preprocessor.mean) / model.data_preprocessor.std
    with torch.no_grad():
        expected = torch.stack([model.eval().loss(normalised)['loss'] for _ in range(20)]).mean()
    # Other random masks, so the same up to what four images scatter.
    assert error == pytest.approx(float(expected), abs=0.1)


@pytest.mark.parametrize(('task', 'metric'), [('mask-rcnn', 'coco/segm_mAP'), ('upernet', 'mIoU')])
def test_transfer(root, toy_scenes, pretrained, tmp_path, task, metric):
    """Training starts from the FCMAE checkpoint; tools/test.py repeats the validation and draws pictures."""
    checkpoint = pretrained / 'epoch_2.pth'
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    options = [f'model.backbone.init_cfg.{key}={value}' for key, value in init_cfg.items()]
    frozen = [*options, 'optim_wrapper.optimizer.lr=0.0']
    done = train(root, task, toy_scenes, tmp_path / 'train', *frozen)
    assert done.returncode == 0, done.stderr[-2000:]
    before = torch.load(checkpoint, weights_only=False)['state_dict']
    after = torch.load(tmp_path / 'train/iter_2.pth', weights_only=False)['state_dict']
    backbone = [key for key in before if key.startswith('backbone.')]
    assert len(backbone) == 136  # atto: 4 x 4 in stem and downsampling, 12 blocks of 10 tensors
    assert all(torch.equal(before[key], after[key]) for key in backbone)

    done = run(
        root,
        *(sys.executable, 'tools/test.py', CONFIG.format(task), tmp_path / 'train/iter_2.pth'),
        *('--work-dir', tmp_path / 'test', '--show-dir', tmp_path / 'pictures'),
        *('--cfg-options', f'test_dataloader.dataset.data_root={toy_scenes}'),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(tmp_path.rglob('pictures/**/*.[pj][np]g'))) == 4
    (result,) = (tmp_path / 'test').glob('*/*.json')
    assert json.loads(result.read_text())[metric] == scalars(tmp_path / 'train')[-1][metric]


def test_two_processes(root, toy_scenes, tmp_path):
    settings = [*data_options('fcmae', toy_scenes), *SHORT['fcmae'], *COMMON, 'train_dataloader.batch_size=4']
    done = run(
        root,
        *('tools/dist_train.sh', CONFIG.format('fcmae'), 2, '--work-dir', tmp_path, '--cfg-options', *settings),
        PORT='29533',
        PYTHON=sys.executable,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'Distributed training: True' in done.stdout
    assert len([record for record in scalars(tmp_path) if 'loss' in record]) == 4  # 16 images / (2 x 4), twice


def test_two_processes_read_shards(root, toy_scenes, tmp_path):
    """With the options of docs/how_to/data.md."""
    made = run(
        root,
        *(sys.executable, 'tools/dataset_tools/make_shards.py', toy_scenes / 'unlabelled', tmp_path / 'shards'),
        *('--max-images', 5),
    )
    assert made.returncode == 0, made.stderr
    settings = [
        'train_dataloader.sampler.type=ChunkedSampler',
        'train_dataloader.dataset.type=UnlabelledShards',
        f'train_dataloader.dataset.data_root={tmp_path}/shards',
        'train_dataloader.dataset.shards={000000..000003}.tar',
        'train_dataloader.batch_size=4',
        'train_cfg.max_epochs=1',
        'default_hooks.logger.interval=1',
    ]
    command = ['tools/dist_train.sh', CONFIG.format('fcmae'), 2, '--work-dir', tmp_path / 'run', '--cfg-options']
    done = run(root, *command, *settings, PORT='29534', PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len([record for record in scalars(tmp_path / 'run') if 'loss' in record]) == 2  # 16 images / (2 x 4)

    (tmp_path / 'shards/000002.tar').unlink()
    command = [sys.executable, 'tools/train.py', CONFIG.format('fcmae'), '--work-dir', tmp_path / 'run']
    done = run(root, *command, '--cfg-options', *settings)
    assert done.returncode == 1
    assert f'train_dataloader.dataset.shards: {tmp_path}/shards/000002.tar does not exist' in done.stderr


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['configs/toy/fcmae_convnextv2-ato_toy-scenes.py'], 'did you mean mmcnv2::toy/fcmae_convnextv2-atto'),
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
    done = run(root, sys.executable, 'tools/train.py', *arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('error: ') and message in done.stderr


def test_checkpoint_of_another_model_is_refused(root, toy_scenes, pretrained, tmp_path):
    data = f'test_dataloader.dataset.data_root={toy_scenes}'
    command = [sys.executable, 'tools/test.py', CONFIG.format('upernet'), pretrained / 'epoch_2.pth']
    done = run(root, *command, '--work-dir', tmp_path, '--cfg-options', data)
    assert done.returncode == 1
    assert 'does not fit the model of the config' in done.stderr
    assert 'backbone.norm0.weight: missing in the checkpoint' in done.stderr and 'Traceback' not in done.stderr


def test_transfer_to_another_size_is_refused(root, toy_scenes, pretrained, tmp_path):
    init_cfg = dict(type='Pretrained', checkpoint=pretrained / 'epoch_2.pth', prefix='backbone.')
    options = [f'model.backbone.init_cfg.{key}={value}' for key, value in init_cfg.items()]
    sizes = ['model.backbone.arch=femto', 'model.decode_head.in_channels=[48,96,192,384]']
    done = train(root, 'upernet', toy_scenes, tmp_path, *options, *sizes, 'model.auxiliary_head.in_channels=192')
    assert done.returncode == 1
    assert 'the checkpoint does not fit this ConvNeXtV2' in done.stderr.splitlines()[-1]
