"""Pictures of a test: below one folder, at the path that the image has below the folder of the images."""

import argparse
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers.configs import load

from mmcnv2.cli.test import add_arguments, apply_test_options
from mmcnv2.engine.hooks.pictures import PredictionVisualizationHook, picture_path
from mmcnv2.utils.errors import ConfigError


class Drawing:
    """A visualizer that writes the image as it is."""

    def add_datasample(self, name, image, data_sample, out_file, pred_score_thr):
        assert pred_score_thr == 0.7
        cv2.imwrite(out_file, image)


class DrawingClasses:
    """As mmpretrain's, which does not draw with the method that it has from MMEngine."""

    def visualize_cls(self, image, data_sample, out_file, name):
        cv2.imwrite(out_file, image)

    def add_datasample(self, *args, **kwargs):
        raise AssertionError


def draw(images, dataset, out_dir, visualizer, **options):
    for image in images:
        image.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), np.zeros((4, 4, 3), np.uint8))
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset), visualizer=visualizer)
    hook = PredictionVisualizationHook(str(out_dir), **options)
    hook.before_test(runner)
    hook.after_test_iter(runner, 0, outputs=[SimpleNamespace(img_path=str(image)) for image in images])
    return sorted(str(path.relative_to(out_dir)) for path in out_dir.rglob('*.*'))


@pytest.mark.parametrize('key', ['img', 'img_path'])
def test_images_of_one_name_in_different_folders(key, tmp_path):
    dataset = SimpleNamespace(data_prefix={key: f'{tmp_path}/images/'}, data_root=str(tmp_path))
    images = [tmp_path / 'images' / name for name in ('a/1.png', 'b/1.png', '1.png')]
    pictures = draw(images, dataset, tmp_path / 'out', Drawing(), pred_score_thr=0.7)
    assert pictures == ['1.png', 'a/1.png', 'b/1.png']


def test_two_datasets_with_the_same_paths(tmp_path):
    """Wrapped, one of them twice; the pictures are below the folder that both are in."""
    one, two = (SimpleNamespace(data_prefix={}, data_root=str(tmp_path / name)) for name in ('one', 'two'))
    dataset = SimpleNamespace(datasets=[one, SimpleNamespace(dataset=two)])
    images = [tmp_path / name / 'val/1.jpg' for name in ('one', 'two')]
    assert draw(images, dataset, tmp_path / 'out', DrawingClasses()) == ['one/val/1.jpg', 'two/val/1.jpg']


def test_paths():
    assert picture_path('/data/val/1.jpg', '/data', 'out') == 'out/val/1.jpg'
    assert picture_path('/elsewhere/1.jpg', '/data', 'out') == 'out/elsewhere/1.jpg'
    assert picture_path('/data/1.gifx', '/data', 'out') == 'out/1.gifx.png'
    assert picture_path('/data/..1.png', '/data', 'out') == 'out/..1.png'


def options(root, task, *arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    cfg = load(root / f'configs/toy/{task}_convnextv2-atto_toy-scenes.py')
    return cfg, lambda: apply_test_options(cfg, parser.parse_args(['config', 'checkpoint', *arguments]))


@pytest.mark.parametrize('task', ['mask-rcnn', 'upernet'])
@pytest.mark.parametrize('own', [None, dict(type='DetVisualizationHook', score_thr=0.6)])
def test_one_folder_for_all_libraries(root, task, own, monkeypatch, tmp_path):
    """Relative to where the command runs, and without a hook in the config, too."""
    cfg, apply = options(root, task, '--show-dir', 'pictures')
    cfg.default_hooks.visualization = own
    monkeypatch.chdir(tmp_path)
    apply()
    threshold = dict(pred_score_thr=0.6) if own else {}
    expected = dict(type='mmcnv2.PredictionVisualizationHook', out_dir=str(tmp_path / 'pictures'), **threshold)
    assert cfg.custom_hooks[-1] == expected


def test_visualizer_that_draws_no_predictions(root):
    _, apply = options(root, 'fcmae', '--show-dir', 'pictures')
    with pytest.raises(ConfigError, match=r'--show-dir needs a visualizer .* got mmengine.Visualizer'):
        apply()
