"""``mmcnv2 check`` finds what ``mmcnv2 train`` would stop at, and trains nothing."""

import pytest
import torch
from helpers.models import ARCH, OTHER_ARCH, build_fcmae
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader

from mmcnv2.cli import run_command

CONFIG = """
_base_ = 'mmcnv2::toy/fcmae_convnextv2-atto_toy-scenes.py'
arch = dict(_delete_=True, **{arch})
model = dict(backbone=dict(arch=arch))
train_dataloader = dict(dataset=dict(data_root='{data}'))
"""


@pytest.fixture(autouse=True)
def loaders(monkeypatch):
    """The command replaces MMEngine's loaders; other tests should not see it."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())


@pytest.fixture
def check(toy_scenes, tmp_path, monkeypatch, capsys):
    """Checks a small pre-training with these options; returns what is printed, or the message of the exit."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text(CONFIG.format(arch=ARCH, data=toy_scenes / 'unlabelled'))

    def check(*options):
        try:
            run_command('check', ['mine.py', *(['--cfg-options', *options] if options else [])])
        except SystemExit as stop:
            return stop.code
        return capsys.readouterr().out

    return check


def test_a_config_that_can_train(check, tmp_path):
    assert check() == 'mine.py: training can start\n'
    assert [path.name for path in tmp_path.iterdir()] == ['mine.py']  # no work dir, no log


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('model.mask_ration=0.5', 'error: model.mask_ration: FCMAE has no argument'),
        ('train_dataloader.dataset.data_root=nowhere', 'error: train_dataloader.dataset.data_root: nowhere does not'),
        ('load_from=nothing.pth', 'error: load_from: checkpoint nothing.pth does not exist'),
        ('load_from=other.pth', 'error: load_from: checkpoint other.pth does not fit the model of the config; '),
        ('resume=True', 'training can start'),
    ],
)
def test_what_training_would_stop_at(check, tmp_path, option, message):
    torch.save(build_fcmae(OTHER_ARCH, in_channels=3).state_dict(), tmp_path / 'other.pth')
    assert message in check(option)


def test_a_checkpoint_that_fits(check, tmp_path):
    torch.save(build_fcmae(ARCH, in_channels=3, decoder_embed_dims=128).state_dict(), tmp_path / 'fits.pth')
    assert 'training can start' in check('load_from=fits.pth')
    assert 'it has no meta, message_hub' in check('load_from=fits.pth', 'resume=True')


def test_a_checkpoint_that_fits_in_part(check, tmp_path, monkeypatch):
    """The parts that will start fresh are named; a run to resume must fit whole."""
    # The logger may write to the standard output of an earlier test.
    monkeypatch.setattr('mmcnv2.preflight.checkpoints.print_log', lambda text, *_: print(text))
    torch.save(build_fcmae(ARCH, in_channels=3, decoder_embed_dims=12).state_dict(), tmp_path / 'narrow.pth')
    said = check('load_from=narrow.pth')
    assert 'proj stays fresh: weight is (12, 16, 1, 1), expected (128, 16, 1, 1)' in said and 'can start' in said
    assert 'tensors disagree' in check('load_from=narrow.pth', 'resume=True')


def test_recipes_of_the_package_by_name(toy_scenes, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    name = 'mmcnv2::toy/fcmae_convnextv2-atto_toy-scenes.py'
    run_command('check', [name, '--cfg-options', f'train_dataloader.dataset.data_root={toy_scenes}/unlabelled'])
    assert capsys.readouterr().out == f'{name}: training can start\n'
    with pytest.raises(SystemExit) as stop:
        run_command('check', ['mmcnv2::toy/fcmae_convnextv2-ato_toy-scenes.py'])
    assert 'did you mean mmcnv2::toy/fcmae_convnextv2-atto_toy-scenes.py?' in stop.value.code
