"""The hooks in a real run of MMEngine's Runner."""

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from torch.utils.data import Dataset

import mmcnv2  # noqa: F401  (registers the models)

MODEL = dict(
    type='mmcnv2.FCMAE',
    backbone=dict(type='mmcnv2.ConvNeXtV2', arch=dict(depths=(1, 1, 1, 1), channels=(4, 4, 4, 4))),
    decoder_embed_dims=8,
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[127.0] * 3, std=[60.0] * 3),
)


class Noise(Dataset):
    """Random images that take their numbers from numpy's global generator, as random crops do."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.from_numpy(np.random.randint(0, 256, (3, 64, 64), dtype=np.uint8)))


def train(work_dir, *hooks):
    runner = Runner(
        model=MODEL,
        work_dir=str(work_dir),
        train_dataloader=dict(dataset=Noise(), batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler')),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        custom_hooks=list(hooks),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        randomness=dict(seed=0),
        experiment_name=f'hooks_{work_dir.name}',
        default_scope='mmcnv2',
        log_level='ERROR',
    )
    runner.train()
    return runner


def test_throughput_is_batch_size_over_iteration_time(tmp_path):
    hub = train(tmp_path, dict(type='ThroughputHook')).message_hub
    times, speeds = (hub.get_scalar(f'train/{key}').data[0] for key in ('time', 'images_per_s'))
    assert speeds == pytest.approx(4 / np.array(times))
    assert 50 < hub.get_scalar('train/memory').current() < 100_000  # MB


def test_reconstructions_are_drawn_and_do_not_disturb_training(tmp_path):
    (tmp_path / 'with').mkdir(), (tmp_path / 'without').mkdir()
    runner = train(tmp_path / 'with', dict(type='ReconstructionHook', interval=2, num_images=3))
    pictures = sorted(path.name for path in (tmp_path / 'with/reconstructions').iterdir())
    assert pictures == ['epoch_2.png', 'epoch_3.png']  # the interval, and the last epoch
    plain = train(tmp_path / 'without')
    for key, value in plain.model.state_dict().items():
        assert torch.equal(value, runner.model.state_dict()[key]), key
