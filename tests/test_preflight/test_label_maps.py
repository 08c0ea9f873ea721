"""What label maps hold is looked at before training, as the training will see it."""

import warnings

import numpy as np
import pytest
from helpers.processes import assert_refused, run_forked
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from PIL import Image

from mmcnv2.preflight import check_label_maps, label_maps
from mmcnv2.utils.errors import InputError

HEIGHT, WIDTH = 6, 8
HALF = np.arange(WIDTH) < 4
CONFIG = 'configs/toy/upernet_convnextv2-atto_toy-scenes.py'


@pytest.fixture
def data(tmp_path):
    """Writes label maps, each given by the labels of its left and right half, and images for them."""

    def write(*halves, dtype=np.uint8, split='train'):
        for number, (left, right) in enumerate(halves):
            labels = np.broadcast_to(np.where(HALF, left, right), (HEIGHT, WIDTH)).astype(dtype)
            for folder, image in (('images', Image.new('RGB', (WIDTH, HEIGHT))), ('maps', Image.fromarray(labels))):
                path = tmp_path / split / folder / f'{number:03d}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
        return tmp_path

    return write


def config(folder, load=None, classes=('background', 'person'), head=None, split='train', **dataset):
    """A config that loads by our transform, or ``load``."""
    default = dict(
        type='BaseSegDataset',
        data_root=str(folder / split),
        data_prefix=dict(img_path='images', seg_map_path='maps'),
        img_suffix='.png',
        metainfo=dict(classes=list(classes)),
        pipeline=[dict(type='LoadImageFromFile'), load or dict(type='mmcnv2.LoadLabelMap')],
    )
    model = dict(decode_head=head or dict(num_classes=len(classes)))
    loader = {f'{split}_dataloader': dict(dataset=dict(default, **dataset))}
    return Config(dict(default_scope='mmseg', model=model, **loader))


def check(cfg, split='train'):
    """Checks, where a warning would be an error."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check_label_maps(cfg, (split,))


MMSEG = dict(type='LoadAnnotations')
OURS = dict(type='mmcnv2.LoadLabelMap', num_classes=2)


# ---- what is right ----


def test_two_classes(data):
    for load in (MMSEG, OURS):
        check(config(data((0, 1), (0, 0)), load))


def test_masks_of_0_and_255_with_the_mend(data):
    check(config(data((0, 255), (0, 0)), dict(OURS, label_map={255: 1})))


def test_labels_that_the_dataset_leaves_out(data):
    """Two of the classes of Cityscapes: the others become 255."""
    cfg = config(
        data((0, 13), (5, 0)), MMSEG, classes=('road', 'car'), type='CityscapesDataset', seg_map_suffix='.png'
    )
    check(cfg)


def test_reduced_labels(data):
    check(config(data((0, 1), (2, 2)), MMSEG, reduce_zero_label=True))


def test_one_channel_of_one_class_has_two_labels(data):
    check(config(data((0, 1)), MMSEG, classes=['object'], head=dict(num_classes=1)))


def test_transforms_of_the_user_may_change_the_labels(data):
    class Rename:
        pass

    TRANSFORMS.register_module(module=Rename, name='RenameOfTheTest', force=True)
    check(config(data((0, 255)), pipeline=[dict(type='LoadImageFromFile'), MMSEG, dict(type='RenameOfTheTest')]))


# ---- what is refused ----


@pytest.mark.parametrize(
    ('load', 'mend'),
    [
        (MMSEG, r"with dict\(type='mmcnv2\.LoadLabelMap', num_classes=2, label_map={255: 1}\) in place of"),
        (OURS, None),
    ],
)
def test_masks_of_0_and_255(data, load, mend):
    message = r"2 of 2 label maps of train_dataloader\.dataset hold label 0 \('background'\) and 255, which is ignored"
    with pytest.raises(InputError, match=message) as info:
        check(config(data((0, 255), (0, 0)), load))
    assert info.match(mend or r'If 255 is a class, give LoadLabelMap label_map={255: 1}')


def test_masks_of_0_and_255_of_one_bit_files_stored_as_others(data):
    """254, 128: neither class nor ignored."""
    for label in (254, 128, 2):
        with pytest.raises(
            InputError, match=rf'000\.png has labels outside the 2 classes: {label} \(24 pixels\).*label_map'
        ):
            check(config(data((0, label)), OURS))
    with pytest.raises(InputError, match=r'001\.png has labels .*, as have 1 in all .*: 254 \(24.*label_map={254: 1}'):
        check(config(data((0, 1), (0, 254)), MMSEG))


def test_reduced_binary_labels(data):
    with pytest.raises(InputError, match=r"label 0 \('background'\) and 255.*reduce_zero_label=True ignores label 0"):
        check(config(data((0, 1)), MMSEG, reduce_zero_label=True))
    with pytest.raises(InputError, match=r'nothing but ignored pixels.*reduce_zero_label=True ignores label 0'):
        check(config(data((0, 0), (0, 255)), MMSEG, reduce_zero_label=True))


def test_labels_that_count_from_1(data):
    with pytest.raises(
        InputError, match=r'outside the 2 classes.*: 2 \(24 pixels\).*count from 1\? .*reduce_zero_label=True'
    ):
        check(config(data((1, 2)), MMSEG))


def test_label_that_another_head_ignores(data):
    cfg = config(data((0, 1), (0, 2)), MMSEG, head=dict(num_classes=2, ignore_index=2))
    check(cfg)
    cfg.model.decode_head.ignore_index = 255
    with pytest.raises(InputError, match='outside the 2 classes'):
        check(cfg)


def test_wide_labels_that_mmseg_would_cut(data):
    with pytest.raises(InputError, match=r'has label 257, .* it would become 1\. .*LoadLabelMap'):
        check(config(data((0, 257), dtype=np.uint16), MMSEG))
    check(config(data((0, 1), dtype=np.uint16), MMSEG))
    check(config(data((0, 257), dtype=np.uint16), dict(OURS, label_map={257: 1})))


@pytest.mark.parametrize('load', [MMSEG, OURS])
def test_colours_and_other_sizes(data, load):
    folder = data((0, 1), (0, 1))
    Image.new('RGB', (WIDTH, HEIGHT)).save(folder / 'train/maps/001.png')
    with pytest.raises(InputError, match=r'label map .*001\.png (has 3 channels|must have one channel)'):
        check(config(folder, load))
    Image.new('L', (WIDTH, HEIGHT + 1)).save(folder / 'train/maps/001.png')
    with pytest.raises(InputError, match=r'label map .*001\.png is 8x7, its image 8x6'):
        check(config(folder, load))
    (folder / 'train/maps/001.png').write_bytes(b'')
    with pytest.raises(InputError, match=r'label map .*001\.png cannot be read'):
        check(config(folder, load))


# ---- what is warned of ----


def test_classes_that_never_occur(data):
    names = ('road', 'car', 'tram', 'bird')
    with pytest.warns(
        match=r"2 of 2 label maps of train_dataloader\.dataset have no pixel of 'tram' \(2\), 'bird' \(3\)"
    ):
        check_label_maps(config(data((0, 1), (1, 1)), MMSEG, classes=names), ('train',))


def test_classes_of_all_data_sets_together(data):
    """Each of the two lacks a class, which the other has."""
    cfg = config(data((0, 0)), OURS)
    second = config(data((1, 1), split='val'), OURS, split='val').val_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[cfg.train_dataloader.dataset, second])
    check(cfg)


def test_maps_of_ignored_pixels(data):
    with pytest.warns(match=r'1 of the 2 of .*nothing but ignored pixels, for instance .*001\.png'):
        check_label_maps(config(data((0, 1), (255, 255)), OURS), ('train',))


def test_evaluated_data_are_looked_at(data):
    cfg = config(data((0, 255), split='val'), OURS, split='val')
    with pytest.raises(InputError, match=r'val_dataloader\.dataset hold label 0'):
        check(cfg, 'val')


def test_files_are_spread_over_the_data_set(data, monkeypatch):
    """10 of 100: 0, 11, ..., 99. A rare class, in none of these, is no error."""
    monkeypatch.setattr(label_maps, 'NUM_FILES', 10)
    folder = data(*[(0, 2 if i % 11 else 1) for i in range(100)])
    check(config(folder, MMSEG))
    with pytest.raises(InputError, match=r'10 of 100 label maps .* hold label 0'):
        check(config(data(*[(0, 255)] * 100), MMSEG))


def test_only_one_process_of_a_machine_looks(data, monkeypatch):
    cfg = config(data((0, 255)), OURS)
    monkeypatch.setenv('LOCAL_RANK', '1')
    check(cfg)
    monkeypatch.setenv('LOCAL_RANK', '0')
    with pytest.raises(InputError):
        check(cfg)


# ---- the real tool ----


@pytest.mark.slow
def test_tool(root, data, tmp_path):
    """A folder of masks of 0 and 255 ends ``mmcnv2 train`` before it starts; its mend trains."""
    for split in ('train', 'val'):
        data((0, 255), split=split)
    options = ['train_cfg.max_iters=1', 'train_cfg.val_interval=1']
    for split in ('train', 'val'):
        dataset = f'{split}_dataloader.dataset'
        options += [
            *(f'{dataset}.{key}={value}' for key, value in (('data_root', tmp_path / split), ('img_suffix', '.png'))),
            f'{dataset}.data_prefix.img_path=images',
            f'{dataset}.data_prefix.seg_map_path=maps',
            f'{dataset}.metainfo.classes=background,person',
            f'{dataset}.pipeline.1.num_classes=2',
        ]
    options += [f'model.{head}.num_classes=2' for head in ('decode_head', 'auxiliary_head')]
    command = ('tools/train.py', CONFIG, '--work-dir', tmp_path / 'out', '--cfg-options', *options)
    done = run_forked(root, *command)
    assert_refused(done, "hold label 0 ('background') and 255", 'label_map={255: 1}')
    mend = [f'{split}_dataloader.dataset.pipeline.1.label_map.255=1' for split in ('train', 'val')]
    done = run_forked(root, *command, *mend)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'mIoU' in done.stdout
