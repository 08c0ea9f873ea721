"""What a training sends to TensorBoard, MLflow and Weights & Biases is read back: values and pictures."""

import hashlib
import json
import os
import struct

import cv2
import numpy as np
import pytest
from helpers.launching import launch_forked
from helpers.mlflow_server import QUIET, mlflow_server
from helpers.processes import assert_refused, free_port, run_forked
from helpers.training import data_options, scalars

# As in docs/how_to/track.md.
CONFIG = """
_base_ = ['mmcnv2::toy/{}_convnextv2-atto_toy-scenes.py', 'mmcnv2::_base_/vis/{}.py']
visualizer = dict(vis_backends=_base_.vis_backends)
"""
PREDICTIONS = 'default_hooks = dict(visualization=dict(draw=True, interval=2))\n'
SHORT = [
    'train_dataloader.batch_size=8',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'default_hooks.logger.interval=1',
]
PRETRAINING = ['train_cfg.max_epochs=2', 'custom_hooks.1.interval=1']  # two iterations each, and pictures of both
TRANSFER = ['train_cfg.max_iters=4', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2']
ENV = dict(QUIET, WANDB_MODE='offline', WANDB_SILENT='true')


def command(task, backend, data, folder, more=''):
    """A short training with a config of the user; its work dir is ``folder / 'run'``."""
    config = folder / 'mine.py'
    config.write_text(CONFIG.format(task, backend) + more)
    options = [*data_options(task, data), *SHORT, *(PRETRAINING if task == 'fcmae' else TRANSFER)]
    if task != 'fcmae':
        options += ['val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False']
    return ['tools/train.py', config, '--work-dir', folder / 'run', '--cfg-options', *options]


def curve(folder, name='loss'):
    """What the local backend has of a value: (iteration, value)."""
    return [(record['step'], record[name]) for record in scalars(folder / 'run') if name in record]


def picture(folder, epoch):
    return cv2.imread(str(folder / f'run/reconstructions/epoch_{epoch}.png'))


def decoded(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def event_files(folder):
    """What TensorBoard reads of the only run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (path,) = folder.glob('run/*/vis_data')
    return EventAccumulator(str(path), size_guidance=dict(images=0, scalars=0)).Reload()


def test_tensorboard(root, toy_scenes, tmp_path):
    launch_forked(root, *command('fcmae', 'tensorboard', toy_scenes, tmp_path))
    events = event_files(tmp_path)
    for name in ('loss', 'lr', 'images_per_s'):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        expected = curve(tmp_path, name)
        assert [step for step, _ in found] == [step for step, _ in expected] == [1, 2, 3, 4]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    images = events.Images('reconstruction')
    assert [image.step for image in images] == [2, 4]
    for epoch, image in enumerate(images, start=1):
        expected = picture(tmp_path, epoch)
        assert (image.height, image.width) == expected.shape[:2]
        np.testing.assert_array_equal(decoded(image.encoded_image_string), expected)
    assert (tmp_path / 'run/curves.png').is_file()


@pytest.mark.parametrize(
    ('task', 'metric', 'expected'),
    [
        ('upernet', 'mIoU', {'val_000000.jpg': [2, 4], 'val_000002.jpg': [4, 6]}),
        ('mask-rcnn', 'coco/bbox_mAP', {'val_img': [2, 4]}),  # all images are one batch
    ],
)
def test_predictions(root, toy_scenes, tmp_path, task, metric, expected):
    """The annotation and, beside it, what is predicted; their step is iteration + number of the batch."""
    launch_forked(root, *command(task, 'tensorboard', toy_scenes, tmp_path, PREDICTIONS))
    events = event_files(tmp_path)
    steps = {name: [image.step for image in events.Images(name)] for name in events.Tags()['images']}
    assert steps == expected
    pictures = [decoded(image.encoded_image_string) for name in steps for image in events.Images(name)]
    assert {image.shape for image in pictures} == {(128, 256, 3)}
    assert all((image[:, :128] != image[:, 128:]).any() for image in pictures)
    # At iterations, as the loss.
    assert [event.step for event in events.Scalars(metric)] == [2, 4] == [step for step, _ in curve(tmp_path, metric)]
    assert [event.step for event in events.Scalars('loss')] == [1, 2, 3, 4]


def wandb_records(path):
    """The records of a run's file: blocks of 32 KiB as in LevelDB's log, after 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, record = path.read_bytes(), 7, b''
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from('<IHB', content, position)
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield Record.FromString(record)
            record = b''


def test_wandb(root, toy_scenes, tmp_path):
    launch_forked(root, *command('fcmae', 'wandb', toy_scenes, tmp_path), **ENV)
    (folder,) = tmp_path.glob('run/*/vis_data/wandb/offline-run-*')
    (file,) = folder.glob('*.wandb')
    records = list(wandb_records(file))
    rows = [
        {'.'.join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof('record_type') == 'history'
    ]
    assert [(row['iter'], row['loss']) for row in rows if 'loss' in row] == curve(tmp_path)
    images = [row for row in rows if 'reconstruction.path' in row]
    assert [row['iter'] for row in images] == [2, 4]  # W&B adds the iteration, by which it draws all
    for epoch, row in enumerate(images, start=1):
        content = (folder / 'files' / row['reconstruction.path']).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row['reconstruction.sha256']
        np.testing.assert_array_equal(decoded(content), picture(tmp_path, epoch))
    assert not any(record.HasField('artifact') for record in records)  # no code of the user


@pytest.fixture(scope='module')
def server(root, tmp_path_factory):
    """The address of an MLflow server."""
    with mlflow_server(root, tmp_path_factory.mktemp('mlflow')) as address:
        yield address


def test_mlflow(root, toy_scenes, server, tmp_path, monkeypatch):
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    from mlflow import MlflowClient

    launch_forked(root, *command('fcmae', 'mlflow', toy_scenes, tmp_path), **dict(ENV, MLFLOW_TRACKING_URI=server))
    client = MlflowClient(server)
    (run,) = client.search_runs(['0'])
    assert run.info.status == 'FINISHED'
    assert run.data.params['model.backbone.arch'] == 'atto'
    for name in ('loss', 'lr'):
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted((value.step, value.value) for value in history) == curve(tmp_path, name)
    files = [file.path for file in client.list_artifacts(run.info.run_id, 'images') if file.path.endswith('.png')]
    # images/NAME+step+NUMBER+timestamp+...
    by_step = {int(path.split('+')[2]): path for path in files if path.startswith('images/reconstruction+step+')}
    assert sorted(by_step) == [2, 4] and len(files) == 2
    for epoch, step in enumerate(sorted(by_step), start=1):
        path = client.download_artifacts(run.info.run_id, by_step[step], str(tmp_path))
        np.testing.assert_array_equal(cv2.imread(path), picture(tmp_path, epoch))


def test_mlflow_without_a_server(root, toy_scenes, tmp_path):
    """It is one line, before training."""
    address = f'http://127.0.0.1:{free_port()}'
    done = run_forked(
        root, *command('fcmae', 'mlflow', toy_scenes, tmp_path), **dict(ENV, MLFLOW_TRACKING_URI=address)
    )
    assert_refused(done, 'visualizer.vis_backends.1.tracking_uri', address, 'mlflow server')
    assert not (tmp_path / 'run').exists() or not os.listdir(tmp_path / 'run')
