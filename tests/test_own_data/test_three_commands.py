"""From a stranger's folder to a running training in three commands, and no line of config, for each kind of data."""

import numpy as np
import pytest
import torch
from helpers import foreign_data
from helpers.commands import call
from helpers.launching import launch_forked
from helpers.models import build_fcmae
from helpers.training import scalars
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

pytestmark = pytest.mark.slow

CHEAP = [
    'default_hooks.logger.interval=1',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
]
# Two iterations and a validation on two images.
SHORT = [
    *('train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2'),
    *('val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False', 'val_dataloader.dataset.indices=2'),
]
SHORT_PRETRAINING = ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=2', 'train_dataloader.dataset.indices=4']


@pytest.fixture(autouse=True)
def loaders(monkeypatch):
    """The command replaces MMEngine's loaders; other tests should not see it."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())


@pytest.fixture
def three_commands(root, tmp_path, monkeypatch, capsys):
    """Runs them, or the first two; returns what ``init`` printed, the config, and the logged values by name."""
    monkeypatch.chdir(tmp_path)

    def three_commands(kind, data, *arguments, trains=True):
        before = sorted(path for path in data.rglob('*'))
        call('init', kind, data, '--out', 'mine.py', '--image-size', '64', *arguments)
        said = capsys.readouterr().out
        call('check', 'mine.py')
        assert 'mine.py: training can start' in capsys.readouterr().out
        assert sorted(path for path in data.rglob('*')) == before  # nothing is written there
        assert (tmp_path / 'mine.png').stat().st_size > 10_000
        if not trains:
            return said, Config.fromfile('mine.py'), {}
        options = SHORT_PRETRAINING if kind == 'images' else SHORT
        command = ['tools/train.py', tmp_path / 'mine.py', '--work-dir', tmp_path / 'out', '--cfg-options']
        launch_forked(root, *command, *CHEAP, *options)
        logged = {key: value for record in scalars(tmp_path / 'out') for key, value in record.items()}
        return said, Config.fromfile('mine.py'), logged

    return three_commands


# ---- the real samples ----


def test_instances(samples, three_commands):
    said, cfg, logged = three_commands('coco', samples / 'nuclei')
    assert '464 images, 19,730 objects' in said and '1 class: nucleus' in said and '19,730 run lengths' in said
    assert cfg.model.type == 'MaskRCNN' and cfg.classes == ('nucleus',)
    assert 'loss_mask' in logged


def test_instances_of_many_classes(samples, three_commands):
    said, cfg, _ = three_commands('coco', samples / 'coco200', trains=False)
    assert len(cfg.classes) == 80 == cfg.model.roi_head.mask_head.num_classes
    assert '80 classes: person, bicycle' in said and 'images in train2017' in said


def test_label_maps(samples, three_commands):
    said, cfg, logged = three_commands('label_maps', samples / 'nuclei')
    assert '464 images to train on and 200 images to validate on (by the names of the folders)' in said
    assert cfg.model.decode_head.num_classes == 2
    assert {'decode.loss_ce', 'mIoU'} <= logged.keys()


def test_unlabelled_images(samples, three_commands):
    said, cfg, logged = three_commands('images', samples / 'imagenet1000')
    assert '1,000 images: 1,000 .jpg' in said and cfg.max_epochs == 140
    assert logged['loss'] > 0


# ---- others ----


def test_a_pre_training_goes_on(tmp_path, three_commands, capsys):
    """From the official layout, with its decoder: after the first steps of the warm-up the weights still are those."""
    torch.manual_seed(0)
    whole = build_fcmae('atto', in_channels=3, decoder_embed_dims=16, decoder_depth=2).state_dict()
    torch.save({'state_dict': whole}, tmp_path / 'ours.pth')
    call('convert', tmp_path / 'ours.pth', tmp_path / 'official.pth', '--to', 'official-fcmae')
    for number in range(4):
        foreign_data.picture(tmp_path / f'data/{number}.png', number)
    capsys.readouterr()
    _, cfg, _ = three_commands('images', tmp_path / 'data', '--checkpoint', tmp_path / 'official.pth')
    assert cfg.model.init_cfg.type == 'mmcnv2.PretrainedFCMAE'
    trained = torch.load(tmp_path / 'out/epoch_1.pth', weights_only=False)['state_dict']
    assert trained.keys() == whole.keys()
    for key, value in whole.items():
        torch.testing.assert_close(trained[key], value, rtol=0, atol=2e-3)


def test_boxes_of_pascal_voc(tmp_path, three_commands):
    foreign_data.voc_folder(tmp_path / 'cells')
    said, cfg, logged = three_commands('voc', tmp_path / 'cells')
    assert 'boxes only: Faster R-CNN; 1 crowd' in said and cfg.classes == ('RBC', 'WBC')
    assert 'loss_bbox' in logged and 'loss_mask' not in logged


def test_polygons_of_yolo(tmp_path, three_commands):
    """With a validation part of its own, where one image has no label file."""
    line = '1 0.5 0.5 0.75 0.5 0.75 0.75 0.5 0.75\n0 0.125 0.125 0.5 0.125 0.125 0.5'
    foreign_data.yolo_folder(tmp_path / 'coins', 3, line, parts=('train', 'val'))
    (tmp_path / 'coins/labels/val/coin 2.txt').unlink()
    said, cfg, logged = three_commands('yolo', tmp_path / 'coins')
    assert 'val: 3 images, 4 objects' in said and 'val: 1 images have no label file' in said
    assert cfg.model.type == 'MaskRCNN' and cfg.classes == ('cat', 'dog')
    assert 'loss_mask' in logged and 'coco/segm_mAP' in logged


def test_class_folders(tmp_path, three_commands):
    foreign_data.class_folders(tmp_path / 'animals')
    said, cfg, logged = three_commands('classes', tmp_path / 'animals')
    assert cfg.classes == ('cat', 'dog', 'große Maus') and cfg.model.head.num_classes == 3
    assert '15 images to train on, 3 images to validate on' in said
    assert 'accuracy/top1' in logged


def test_three_images_with_odd_names_and_ids(tmp_path, three_commands):
    foreign_data.coco_folder(tmp_path / 'data', number=3, first_id=7, classes=('Käfer',))
    said, cfg, _ = three_commands('coco', tmp_path / 'data', trains=False)
    assert 'train: 2 images, 4 objects (' in said and 'val: 1 image, 2 objects (every fifth image held out' in said
    assert cfg.classes == ('Käfer',)


def test_sixteen_bit_label_maps(tmp_path, three_commands):
    foreign_data.label_map_folder(tmp_path / 'data', (0, 300, 1000), dtype=np.uint16)
    said, cfg, _ = three_commands('label_maps', tmp_path / 'data', trains=False)
    assert 'counted anew, 300 as 1, 1000 as 2' in said
    assert cfg.classes == ('class 0', 'class 300', 'class 1000')
