"""What ``mmcnv2 init label_maps``, ``classes`` and ``images`` see in odd and broken data, and what they make of it."""

import math

import numpy as np
import pytest
import torch
from helpers.commands import call, refusal
from helpers.foreign_data import class_folders, label_map_folder, picture
from helpers.models import build_fcmae
from mmengine.config import Config
from PIL import Image

from mmcnv2.models.backbones import ARCHITECTURES
from mmcnv2.own_data import writing
from mmcnv2.own_data.images import hold_out
from mmcnv2.own_data.network import Network
from mmcnv2.own_data.schedule import finetuning, pretraining


@pytest.fixture
def init(tmp_path, monkeypatch, capsys):
    """Writes a config; returns what was printed and the config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(writing, 'draw_overview', lambda *_: None)  # takes a second; test_three_commands.py draws

    def init(kind, *arguments):
        call('init', kind, 'data', '--out', 'mine.py', '--force', *arguments)
        return capsys.readouterr().out, Config.fromfile('mine.py')

    return init


# ---- label maps ----


@pytest.mark.parametrize(
    ('values', 'dtype', 'classes', 'label_map', 'line'),
    [
        ((0, 1, 2), np.uint8, ('class 0', 'class 1', 'class 2'), None, 'labels in 6 maps: 0 (33.3%), 1 (33.3%)'),
        ((0, 255), np.uint8, ('background', 'object'), {255: 1}, '255 is taken as class 1'),
        ((0, 1, 255), np.uint8, ('class 0', 'class 1'), None, '255: taken as pixels to ignore (33.3%)'),
        ((1, 2), np.uint8, ('class 1', 'class 2'), {1: 0, 2: 1}, 'counted anew, 1 as 0, 2 as 1'),
        ((0, 300), np.uint16, ('class 0', 'class 300'), {300: 1}, 'counted anew, 300 as 1'),
    ],
)
def test_labels(tmp_path, init, values, dtype, classes, label_map, line):
    label_map_folder(tmp_path / 'data', values, dtype=dtype)
    said, cfg = init('label_maps')
    assert line in said and '5 images to train on and 1 image to validate on (every fifth held out)' in said
    assert cfg.classes == classes
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == len(classes)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.pipeline[1].get('label_map') == label_map
    assert (tmp_path / 'mine_val.txt').read_text() == 'photo 4\n'


def test_names_of_classes_and_of_files(tmp_path, init):
    """Palette images named a_mask.png for a.png, beside the images; names from a file."""
    label_map_folder(tmp_path / 'data', (0, 2), images='a b', labels='a b/masks', ending='_mask.png', number=5)
    for path in (tmp_path / 'data').rglob('*_mask.png'):
        image = Image.open(path).convert('P')
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        image.save(path)
    (tmp_path / 'data/classes.txt').write_text('ground\nwall\nroof\n')
    said, cfg = init('label_maps')
    assert cfg.classes == ('ground', 'wall', 'roof') and 'no pixel of wall' in said
    dataset = cfg.train_dataloader.dataset
    assert (dataset.img_suffix, dataset.seg_map_suffix) == ('.png', '_mask.png')
    assert dataset.data_prefix == dict(img_path='a b', seg_map_path='a b/masks')
    _, cfg = init('label_maps', '--images', 'a b', '--labels', 'a b/masks', '--classes', 'x', 'y', 'z')
    assert cfg.classes == ('x', 'y', 'z')


def test_folders_that_are_named_val(tmp_path, init):
    for part, number in (('train', 3), ('val', 2)):
        label_map_folder(tmp_path / 'data', number=number, images=f'{part}/img', labels=f'{part}/ann')
    said, cfg = init('label_maps')
    assert '3 images to train on and 2 images to validate on (by the names of the folders)' in said
    assert cfg.val_dataloader.dataset.data_prefix == dict(img_path='val/img', seg_map_path='val/ann')


def test_broken_label_maps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def said(*options):
        return refusal('init', 'label_maps', 'data', '--out', 'mine.py', *options)

    label_map_folder(tmp_path / 'data', (3,))
    assert 'hold nothing but 3' in said()
    label_map_folder(tmp_path / 'data', range(96), dtype=np.uint16)
    Image.fromarray(np.arange(96 * 128, dtype=np.uint16).reshape(96, 128)).save(tmp_path / 'data/masks/photo 0.png')
    assert 'numbers of objects, or grey values, rather than classes?' in said()
    picture(tmp_path / 'data/masks/photo 0.png', 0)
    named = ['--images', 'images', '--labels', 'masks']
    assert "has mode 'RGB' of Pillow: expected one integer a pixel" in said(*named)
    Image.new('L', (5, 5)).save(tmp_path / 'data/masks/photo 0.png')
    assert 'photo 0.png is 5x5, its image 128x96' in said(*named)
    for path in (tmp_path / 'data/masks').iterdir():
        path.unlink()
    assert 'it has images in images. Name them: --images FOLDER --labels FOLDER' in said()


# ---- options ----


@pytest.mark.parametrize(
    ('kind', 'taken'),
    [
        ('coco', '--train, --val, --images'),
        ('voc', ''),
        ('yolo', '--train, --val, --classes'),
        ('label_maps', '--images, --labels, --classes'),
        ('classes', '--train, --val'),
        ('images', ''),
    ],
)
def test_options_of_other_kinds_are_refused(tmp_path, monkeypatch, kind, taken):
    """None is ignored in silence."""
    monkeypatch.chdir(tmp_path)
    for option in ('--train', '--val', '--images', '--labels', '--classes'):
        error = refusal('init', kind, 'data', '--out', 'mine.py', option, 'x')
        if option in taken:
            assert 'is not for' not in error
        else:
            assert error.endswith(
                f'{option} is not for {kind} data, {f"which take {taken}" if taken else "all is found"}'
            )


def test_options_that_go_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / 'data', ['a', 'b'], number=2)
    (tmp_path / 'a.json').write_text('{}')
    assert '--val goes with --train' in refusal('init', 'classes', 'data', '--out', 'mine.py', '--val', 'b')
    error = refusal('init', 'label_maps', 'data', '--out', 'mine.py', '--images', 'a')
    assert '--images and --labels need as many folders as each other' in error
    assert 'is an annotation file already' in refusal(
        'init', 'coco', 'a.json', '--out', 'mine.py', '--train', 'a.json'
    )


# ---- class folders ----


def test_class_folders_with_parts(tmp_path, init):
    class_folders(tmp_path / 'data/train', [f'class{i}' for i in range(6)], number=2)
    class_folders(tmp_path / 'data/val', ['class3'], number=1)
    picture(tmp_path / 'data/train/beside.png', 0)
    said, cfg = init('classes')
    assert '1 image outside class folders left out: beside.png' in said
    assert cfg.val_evaluator.topk == cfg.test_evaluator.topk == (1, 5)
    assert (tmp_path / 'mine_val.txt').read_text() == 'val/class3/0.png 3\n'


def test_class_folders_of_one_image(tmp_path, init):
    class_folders(tmp_path / 'data', ['a', 'b'], number=2)
    picture(tmp_path / 'data/c c/1 2.png', 0)
    said, cfg = init('classes')
    assert 'c c has one image: it is trained on' in said
    assert (tmp_path / 'mine_train.txt').read_text() == 'a/0.png 0\nb/0.png 1\nc c/1 2.png 2\n'
    assert cfg.val_evaluator.topk == (1,)


def test_broken_class_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / 'data/a.png', 0)
    assert 'expected one for each class' in refusal('init', 'classes', 'data', '--out', 'mine.py')
    class_folders(tmp_path / 'data/train', ['a', 'b'], number=1)
    class_folders(tmp_path / 'data/val', ['a', 'c'], number=1)
    assert 'has classes that ' in refusal('init', 'classes', 'data', '--out', 'mine.py')


# ---- images and networks ----


def test_crops_suit_the_images(tmp_path, init):
    picture(tmp_path / 'data/große.jpg', 0, width=1024, height=896)
    (tmp_path / 'data/broken.png').write_bytes(b'no image')
    picture(tmp_path / 'data/masks/a.png', 0, mode='L', width=1024, height=896)
    said, cfg = init('images')
    # A crop of 224 x 224 at its own size has 50176 / 917504 = 0.0547 of the area.
    assert (cfg.image_size, cfg.crop_scale) == (224, (0.027, 0.44))
    assert cfg.train_dataloader.dataset.pipeline[0].scale == cfg.crop_scale
    assert '1 file cannot be read and will be skipped' in said
    assert '1 file may be label maps, by the names of their folders (masks)' in said
    assert (cfg.batch_size, cfg.max_epochs) == (3, 400)


IMAGENET, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def test_grey_images_have_one_mean_and_deviation(tmp_path, init):
    """Two of three are grey, values 10 and 30, the third is red: 0 to 255 of a channel, mean 85."""
    for name, colour in dict(a=(10, 10, 10), b=(30, 30, 30), c=(255, 0, 0)).items():
        (tmp_path / 'data').mkdir(exist_ok=True)
        Image.new('RGB', (64, 64), colour).save(tmp_path / f'data/{name}.png')
    said, cfg = init('images')
    mean = (10 + 30 + 85) / 3
    std = math.sqrt((10**2 + 30**2 + 255**2 / 3) / 3 - mean**2)
    assert cfg.model.data_preprocessor.mean == [round(mean)] * 3
    assert cfg.model.data_preprocessor.std == [round(std)] * 3
    assert 'mean 42, 42, 42, std 76, 76, 76, most images are grey: one mean and one std for all channels' in said
    # What a checkpoint says of its training counts more than the images.
    whole = dict(state_dict=build_fcmae('femto', in_channels=3).state_dict())
    for preprocessor, expected in (
        (dict(mean=[45] * 3, std=[70] * 3), [45] * 3),
        (dict(mean=IMAGENET, std=STD), IMAGENET),
    ):
        text = Config(dict(model=dict(data_preprocessor=preprocessor))).pretty_text
        torch.save(dict(whole, meta=dict(cfg=text)), tmp_path / 'ours.pth')
        said, cfg = init('images', '--checkpoint', 'ours.pth')
        assert cfg.model.data_preprocessor.mean == expected
        assert ('mean 45, 45, 45, std 70, 70, 70, as in the training of the checkpoint' in said) == (
            expected != IMAGENET
        )
    torch.save(whole, tmp_path / 'ours.pth')
    assert init('images', '--checkpoint', 'ours.pth')[1].model.data_preprocessor.mean == [round(mean)] * 3
    # What a network from elsewhere was trained with stays; so do images in colour.
    torch.save(build_fcmae('femto').backbone.state_dict(), tmp_path / 'other.pth')
    assert init('images', '--checkpoint', 'other.pth')[1].model.data_preprocessor.mean == IMAGENET
    (tmp_path / 'data/a.png').unlink()
    (tmp_path / 'data/b.png').unlink()
    assert init('images')[1].model.data_preprocessor.mean == IMAGENET


@pytest.mark.parametrize('kind', ['label_maps', 'classes'])
def test_grey_images_with_labels(tmp_path, init, kind):
    (label_map_folder if kind == 'label_maps' else class_folders)(tmp_path / 'data')
    images = [path for path in (tmp_path / 'data').rglob('*') if path.is_file() and Image.open(path).mode == 'RGB']
    for path in images:
        Image.new('L', Image.open(path).size, 20).save(path)
    _, cfg = init(kind)
    assert cfg.model.data_preprocessor.mean == [20] * 3 and cfg.model.data_preprocessor.std == [1] * 3
    assert cfg.model.data_preprocessor.keys() & {'size', 'num_classes'}


def test_no_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data').mkdir()
    assert 'No images in ' in refusal('init', 'images', 'data', '--out', 'mine.py')
    (tmp_path / 'data/a.png').write_bytes(b'no image')
    assert 'none of 1 images can be read' in refusal('init', 'images', 'data', '--out', 'mine.py')
    arguments = ('init', 'images', 'data', '--out', 'mine.py', '--checkpoint', 'a.pth', '--arch', 'atto')
    assert '--checkpoint a.pth has its size: leave out --arch atto, or the checkpoint' in refusal(*arguments)


def test_network_and_weights_of_a_checkpoint(tmp_path, init):
    """A whole FCMAE goes on with its decoder; a detector takes the backbone."""
    model = build_fcmae('femto', in_channels=3, decoder_embed_dims=64)
    torch.save(model.state_dict(), tmp_path / 'whole.pth')
    torch.save(model.backbone.state_dict(), tmp_path / 'backbone.pth')
    picture(tmp_path / 'data/a.png', 0)
    picture(tmp_path / 'data/b.png', 0)
    _, cfg = init('images', '--checkpoint', 'whole.pth')
    whole = dict(type='mmcnv2.PretrainedFCMAE', checkpoint=str(tmp_path / 'whole.pth'))
    assert cfg.model.init_cfg == whole and cfg.model.decoder_embed_dims == 64
    assert cfg.model.backbone == dict(type='mmcnv2.ConvNeXtV2', arch='femto')
    _, cfg = init('images', '--checkpoint', 'backbone.pth')
    assert cfg.model.init_cfg == dict(whole, checkpoint=str(tmp_path / 'backbone.pth'))
    class_folders(tmp_path / 'data', number=2)
    _, cfg = init('classes', '--checkpoint', 'whole.pth')
    assert cfg.model.backbone.init_cfg == dict(whole, type='mmcnv2.PretrainedConvNeXtV2')
    assert cfg.model.head.in_channels == 384
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.3


def test_lengths_and_rates():
    small, large = (Network('ConvNeXtV2', arch, ARCHITECTURES[arch]['channels']) for arch in ('atto', 'tiny'))
    # 464 images: 2000 iterations; 3: 400; 20000: 12 epochs of 5000 iterations; 30: 200 epochs of 7.5.
    assert [finetuning(n, 4, 1e-3, 4, small).length for n in (464, 3, 20000, 30)] == [2000, 400, 60000, 1500]
    assert [finetuning(n, 4, 1e-3, 4, small).batch_size for n in (464, 3, 1)] == [4, 3, 2]
    assert finetuning(464, 4, 7e-4, 2, small).lr == pytest.approx(7e-4 * math.sqrt(2), rel=0.01)
    assert finetuning(464, 4, 1e-3, 4, large).lr == pytest.approx(2.5e-4)
    assert [pretraining(n, small).length for n in (3, 464, 10**6)] == [400, 300, 100]
    assert pretraining(464, small).lr == pytest.approx(1.5e-3 / math.sqrt(2), rel=0.05)


@pytest.mark.parametrize(
    ('number', 'train', 'val'),
    [(0, [], []), (1, [0], [0]), (2, [0], [1]), (4, [0, 1, 2], [3]), (6, [0, 1, 2, 3, 5], [4])],
)
def test_hold_out(number, train, val):
    assert hold_out(range(number)) == (train, val)
