"""What draws, logs or reports fails once with a warning, and the run goes on; what saves comes before what draws."""

import logging
import shutil

import cv2
import numpy as np
import pytest
import torch
from helpers.configs import load
from helpers.small_run import build_runner
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, VISBACKENDS
from mmengine.visualization import LocalVisBackend

from mmcnv2.engine import CheckpointHook, ReconstructionHook
from mmcnv2.engine.reporting import spare_the_run
from mmcnv2.engine.runner import build_runner as build_runner_of_config
from mmcnv2.utils.errors import TrainingStopped


@HOOKS.register_module()
class FailingVisualizationHook(Hook):
    """Fails whenever it is called."""

    priority = 'VERY_HIGH'
    error = ValueError('no font\nhere')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        raise self.error


@HOOKS.register_module()
class OtherHook(FailingVisualizationHook):
    """Not one that reports."""


@VISBACKENDS.register_module()
class FailingBackend(LocalVisBackend):
    """A server that is gone."""

    def add_scalars(self, *args, **kwargs):
        raise ConnectionError('no server')

    def close(self):
        raise OSError(28, 'No space left on device')


def train(runner, caplog):
    """Trains and returns what was warned of."""
    spare_the_run(runner)
    with caplog.at_level(logging.WARNING):
        runner.logger.addHandler(caplog.handler)
        runner.train()
    return [record.message for record in caplog.records if 'failed, the run goes on' in record.message]


def test_hook_that_fails_in_every_iteration_warns_once(tmp_path, caplog):
    runner = build_runner(tmp_path, epochs=1, hooks=[dict(type='FailingVisualizationHook')])
    (warning,) = train(runner, caplog)
    assert warning.startswith('FailingVisualizationHook failed, the run goes on: ValueError: no font')
    assert (tmp_path / 'iter_6.pth').is_file()


@pytest.mark.parametrize('error', [TrainingStopped('enough'), KeyboardInterrupt(), RuntimeError('DataLoader worker')])
def test_what_stops_a_run_passes_through(error, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(FailingVisualizationHook, 'error', error)
    expected = TrainingStopped if isinstance(error, RuntimeError) else type(error)
    with pytest.raises(expected):
        train(build_runner(tmp_path, epochs=1, hooks=[dict(type='FailingVisualizationHook')]), caplog)
    assert (tmp_path / 'iter_1.pth').is_file()  # although the hook was registered before


def test_other_hooks_still_end_a_run(tmp_path, caplog):
    with pytest.raises(ValueError, match='no font'):
        train(build_runner(tmp_path, epochs=1, hooks=[dict(type='OtherHook')]), caplog)


def test_backend_that_fails_leaves_the_others_alone(tmp_path, caplog):
    """Its failures are one warning, when it adds values and when it is closed."""
    runner = build_runner(tmp_path, epochs=1)
    runner.visualizer._vis_backends = dict(
        failing=FailingBackend(str(tmp_path / 'failing')), local=LocalVisBackend(str(tmp_path / 'local'))
    )
    (warning,) = train(runner, caplog)
    assert warning.startswith('FailingBackend failed, the run goes on: ConnectionError: no server')
    assert len((tmp_path / 'local/scalars.json').read_text().splitlines()) == 6


def test_scalars_that_cannot_be_written(tmp_path, caplog):
    """The file of the local backend on a full disk, by the kernel's own error."""
    runner = build_runner(tmp_path, epochs=1)
    folder = tmp_path / 'local'
    runner.visualizer._vis_backends = dict(local=LocalVisBackend(str(folder)))
    folder.mkdir()
    (folder / 'scalars.json').symlink_to('/dev/full')
    (warning,) = train(runner, caplog)
    assert warning.startswith('LocalVisBackend failed, the run goes on: OSError: [Errno 28] No space left')


def fcmae(root, data, work_dir):
    """A runner of two iterations with a picture at the end."""
    cfg = load(root / 'configs/toy/fcmae_convnextv2-atto_toy-scenes.py')
    cfg.model.backbone.arch = dict(depths=(1, 1, 1, 1), channels=(4, 4, 4, 4))
    cfg.train_dataloader.update(batch_size=8, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.data_root = str(data)
    cfg.train_cfg.max_epochs = 1
    cfg.update(work_dir=str(work_dir), launcher='none')
    return build_runner_of_config(cfg)


@pytest.mark.slow
@pytest.mark.parametrize('fault', ['vanished', 'unwritable', 'not finite', 'none'])
def test_reconstructions(root, toy_scenes, tmp_path, caplog, fault):
    """The checkpoint is there, whatever happens to the picture; weights that are not finite still make one."""
    data, picture = tmp_path / 'images', tmp_path / 'run/reconstructions/epoch_1.png'
    shutil.copytree(toy_scenes / 'unlabelled', data)
    runner = fcmae(root, data, tmp_path / 'run')

    class Fault(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if batch_idx == 1 and fault == 'vanished':
                shutil.rmtree(data)
                data.mkdir()  # or the dataset waits for it
            if batch_idx == 1 and fault == 'unwritable':
                picture.mkdir(parents=True)
            if batch_idx == 1 and fault == 'not finite':
                runner.model.pred.bias.data[:] = torch.nan

    runner.register_hook(Fault())
    warnings = train(runner, caplog)
    assert (tmp_path / 'run/epoch_1.pth').is_file()
    if fault in ('vanished', 'unwritable'):
        (warning,) = warnings
        assert 'ReconstructionHook failed' in warning
        assert str(picture if fault == 'unwritable' else data) in warning
    else:
        assert not warnings
        assert cv2.imread(str(picture)).ndim == 3


def test_checkpoints_come_before_pictures(tmp_path):
    """In whatever order a config has them."""
    runner = build_runner(tmp_path, hooks=[dict(type='mmcnv2.ReconstructionHook', priority='VERY_HIGH')])
    spare_the_run(runner)
    kinds = [type(hook) for hook in runner.hooks]
    assert kinds.index(CheckpointHook) < kinds.index(ReconstructionHook)


def test_label_outside_the_palette(tmp_path, caplog):
    """mmseg's visualizer fails at a label that has no colour, and at a palette that is None."""
    from mmengine.structures import PixelData
    from mmseg.engine import SegVisualizationHook
    from mmseg.structures import SegDataSample
    from mmseg.visualization import SegLocalVisualizer

    image = tmp_path / 'image.png'
    cv2.imwrite(str(image), np.zeros((32, 32, 3), np.uint8))
    sample = SegDataSample(metainfo=dict(img_path=str(image), reduce_zero_label=False))
    sample.pred_sem_seg = PixelData(data=torch.full((1, 32, 32), 7))
    runner = build_runner(tmp_path, epochs=1)
    visualizer = SegLocalVisualizer.get_instance(tmp_path.name, save_dir=str(tmp_path))
    runner._hooks = [SegVisualizationHook(draw=True, interval=1)]
    runner.visualizer = visualizer
    visualizer.dataset_meta = dict(classes=('one', 'two'), palette=None)
    spare_the_run(runner)
    with caplog.at_level(logging.WARNING):
        runner.logger.addHandler(caplog.handler)
        runner.call_hook('after_test_iter', batch_idx=0, data_batch={}, outputs=[sample])
        image.unlink()
        runner.call_hook('after_test_iter', batch_idx=1, data_batch={}, outputs=[sample])
    (warning,) = [record.message for record in caplog.records if 'failed' in record.message]
    assert warning.startswith('SegVisualizationHook failed, the run goes on')


def test_hooks_that_draw_spare_a_run_of_any_tool(tmp_path, caplog):
    """Without ``spare_the_run``: a model and a dataset of which no picture can be made."""
    hook = dict(type='mmcnv2.ReconstructionHook')
    runner = build_runner(tmp_path, epochs=2, hooks=[hook], checkpoint=dict(by_epoch=True))
    kinds = [type(hook) for hook in runner.hooks]
    assert kinds.index(CheckpointHook) < kinds.index(ReconstructionHook)
    with caplog.at_level(logging.WARNING):
        runner.logger.addHandler(caplog.handler)
        runner.train()
    (warning,) = [record.message for record in caplog.records if 'failed, the run goes on' in record.message]
    assert warning.startswith('ReconstructionHook failed')
    assert (tmp_path / 'epoch_2.pth').is_file()
