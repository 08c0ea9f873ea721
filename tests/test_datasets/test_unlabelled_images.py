"""UnlabelledImages: finding the files, skipping unreadable ones, and the whole pipeline."""

import copy
import gc
import logging
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader

from mmcnv2.datasets import UnlabelledImages, UnreadableImageError
from mmcnv2.utils.errors import InputError

LOAD_AND_PACK = [dict(type='mmcnv2.LoadRGBImage'), dict(type='mmcnv2.PackUnlabelled')]
PRETRAIN = [dict(type='mmcnv2.LoadRandomResizedCrop', size=64), dict(type='mmcnv2.PackUnlabelled')]


def write_images(folder, names, size=(8, 8)):
    """Write images whose red value is their number."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', size, (number, 0, 0)).save(path, format='png')


def names_of(dataset, folder):
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return [os.path.relpath(path, folder) for path in paths]


def red(sample):
    return int(sample['inputs'][0, 0, 0])


@pytest.fixture
def warnings_logged():
    """Messages of MMEngine's current logger."""
    messages = []

    class Collect(logging.Handler):
        def emit(self, record):
            if record.levelno == logging.WARNING:
                messages.append(record.getMessage())

    logger, handler = MMLogger.get_current_instance(), Collect()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


# ---- which files ----


def test_imagenet_layout(tmp_path):
    names = [f'train/n{c:08d}/n{c:08d}_{i}.JPEG' for c in (3, 1, 2) for i in (10, 2)]
    write_images(tmp_path, names)
    write_images(tmp_path, ['val/a.JPEG'])
    for prefix in ('train', 'train/', dict(img_path='train')):
        dataset = UnlabelledImages(data_root=str(tmp_path), data_prefix=prefix)
        assert names_of(dataset, tmp_path) == sorted(names)
    assert len(UnlabelledImages(data_root=str(tmp_path))) == 7


def test_which_files_count(tmp_path):
    good = ['B.PNG', 'a.jpg', 'b/c/d.Tiff', 'e.jpeg', 'f.bmp', 'g.webp', 'ü ß.tif']
    write_images(tmp_path, good)
    write_images(tmp_path, ['.hidden.jpg', '.cache/a.jpg', '._a.jpg', 'a.gif', 'jpg', 'a.jpg.txt'])
    (tmp_path / 'folder.jpg').mkdir()
    assert names_of(UnlabelledImages(str(tmp_path)), tmp_path) == sorted(good)
    assert names_of(UnlabelledImages(str(tmp_path), extensions=['.GIF']), tmp_path) == ['a.gif']


def test_links_are_followed_but_not_in_circles(tmp_path):
    write_images(tmp_path, ['real/a.png', 'real/deep/b.png'])
    root = tmp_path / 'root'
    root.mkdir()
    (root / 'linked').symlink_to(tmp_path / 'real')
    (tmp_path / 'real' / 'deep' / 'up').symlink_to(tmp_path / 'real')
    (root / 'c.png').symlink_to(tmp_path / 'real' / 'a.png')
    dataset = UnlabelledImages(str(root))
    assert names_of(dataset, root) == ['c.png', 'linked/a.png', 'linked/deep/b.png']


def test_list_file(tmp_path):
    names = ['z.jpg', 'a b/my photo 2.jpg', 'a.png', 'x 5.JPEG', 'no extension 7', 'neg.jpg']
    write_images(tmp_path / 'train', names)
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta' / 'train.txt').write_bytes(
        b'\xef\xbb\xbf# a comment\r\n\r\nz.jpg\r\na b/my photo 2.jpg 13\r\n  a.png\t0  \r\n'
        b'x 5.JPEG\r\nno extension 7\r\nneg.jpg -1\r\n'
    )
    kwargs = dict(data_root=str(tmp_path), data_prefix=dict(img_path='train'), max_unreadable=0)
    dataset = UnlabelledImages(ann_file='meta/train.txt', pipeline=LOAD_AND_PACK, **kwargs)
    assert names_of(dataset, tmp_path / 'train') == names  # the order of the list
    assert [red(sample) for sample in dataset] == list(range(6))


def test_list_file_alone_takes_absolute_paths(tmp_path):
    write_images(tmp_path, ['a.png', 'b.png'])
    (tmp_path / 'list.txt').write_text(f'{tmp_path}/b.png 3\n{tmp_path}/a.png\n')
    dataset = UnlabelledImages(ann_file=str(tmp_path / 'list.txt'))
    assert names_of(dataset, tmp_path) == ['b.png', 'a.png']


def test_errors_name_folder_and_remedy(tmp_path):
    root = str(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'absent.*data_root'):
        UnlabelledImages(root, data_prefix='absent')
    with pytest.raises(FileNotFoundError, match=r'No images in .*\.jpeg.*extensions'):
        UnlabelledImages(root)
    with pytest.raises(FileNotFoundError, match=r'list\.txt.*ann_file'):
        UnlabelledImages(root, ann_file='list.txt')
    (tmp_path / 'list.txt').write_text('# nothing\n\n')
    with pytest.raises(ValueError, match=r'list\.txt.* names no images'):
        UnlabelledImages(root, ann_file='list.txt')
    (tmp_path / 'list.txt').write_text('a.jpg 1\n')
    with pytest.raises(FileNotFoundError, match=r'do not exist.*a\.jpg'):
        UnlabelledImages(root, ann_file='list.txt')
    with pytest.raises(ValueError, match='img_path'):
        UnlabelledImages(root, data_prefix=dict(img='train'))
    with pytest.raises(ValueError, match='extensions'):
        UnlabelledImages(root, extensions='.jpg')
    with pytest.raises(ValueError, match='extensions'):
        UnlabelledImages(root, extensions=['jpg'])
    with pytest.raises(ValueError, match='max_unreadable'):
        UnlabelledImages(root, max_unreadable=-1)


# ---- what BaseDataset offers ----


@pytest.mark.parametrize('serialize_data', [True, False])
def test_lazy_init_indices_and_subsets(tmp_path, serialize_data):
    write_images(tmp_path, [f'{i}.png' for i in range(6)])
    kwargs = dict(data_root=str(tmp_path), pipeline=LOAD_AND_PACK, serialize_data=serialize_data)
    lazy = UnlabelledImages(data_root='absent', lazy_init=True)
    assert lazy.num_unreadable == 0
    with pytest.raises(FileNotFoundError):
        lazy.full_init()
    lazy = UnlabelledImages(lazy_init=True, **kwargs)
    assert red(lazy[5]) == 5 and len(lazy) == 6
    assert [red(sample) for sample in UnlabelledImages(indices=[4, 1], **kwargs)] == [4, 1]
    assert [red(sample) for sample in UnlabelledImages(indices=2, **kwargs)] == [0, 1]

    (tmp_path / '3.png').write_bytes(b'')
    dataset = UnlabelledImages(**kwargs)
    assert red(dataset[3]) == 4 and dataset.num_unreadable == 1
    subset = dataset.get_subset([3, 0])
    assert subset.num_unreadable == 0 and red(subset[0]) == 0 and subset.num_unreadable == 1
    dataset.get_subset_([0, 1])
    assert dataset.num_unreadable == 0 and [red(sample) for sample in dataset] == [0, 1]


def test_index_range(tmp_path):
    write_images(tmp_path, ['0.png', '1.png'])
    dataset = UnlabelledImages(str(tmp_path), pipeline=LOAD_AND_PACK)
    assert [red(dataset[i]) for i in (0, 1, -1, -2)] == [0, 1, 1, 0]
    for index in (2, -3):
        with pytest.raises(IndexError, match='2 images'):
            dataset[index]


# ---- unreadable files ----


def with_broken_files(folder, total, broken, **kwargs):
    write_images(folder, [f'{i:02d}.png' for i in range(total)])
    for index in broken:
        (folder / f'{index:02d}.png').write_bytes(b'not an image')
    cfg = dict(type='mmcnv2.UnlabelledImages', data_root=str(folder), pipeline=LOAD_AND_PACK)
    return DATASETS.build(dict(cfg, **kwargs))


def test_unreadable_is_skipped_with_one_warning(tmp_path, warnings_logged):
    dataset = with_broken_files(tmp_path, 6, [1, 2, 5])
    for _ in range(2):
        assert [red(sample) for sample in dataset] == [0, 3, 3, 3, 4, 0]
    assert dataset.num_unreadable == 3
    assert len(warnings_logged) == 3
    assert '01.png' in warnings_logged[0] and 'cannot identify' in warnings_logged[0]


def test_deleted_file_is_unreadable(tmp_path):
    dataset = with_broken_files(tmp_path, 3, [])
    (tmp_path / '00.png').unlink()
    assert red(dataset[0]) == 1 and dataset.num_unreadable == 1


def test_vanished_folder_is_no_unreadable_image(tmp_path):
    """A network disk that is gone for a moment must not use up ``max_unreadable``."""
    folder, gone = tmp_path / 'images', tmp_path / 'gone'
    write_images(folder, [f'{i}.png' for i in range(4)])
    dataset = UnlabelledImages(data_root=str(folder), max_unreadable=0, pipeline=LOAD_AND_PACK)
    folder.rename(gone)
    with pytest.raises(UnreadableImageError, match=r'images/2\.png'):
        dataset[2]
    gone.rename(folder)
    assert red(dataset[2]) == 2
    assert dataset.num_unreadable == 0


def test_too_many_unreadable_stop(tmp_path):
    dataset = with_broken_files(tmp_path, 8, [0, 2, 4], max_unreadable=2)
    assert red(dataset[0]) == 1 and red(dataset[2]) == 3
    assert red(dataset[0]) == 1  # a known one does not count again
    with pytest.raises(InputError, match=r'3 of 8 .*max_unreadable=2.*00\.png.*04\.png'):
        dataset[4]


def test_all_unreadable_stop(tmp_path):
    dataset = with_broken_files(tmp_path, 4, range(4))
    for _ in range(2):
        with pytest.raises(InputError, match=r'4 of 4 images are unreadable'):
            dataset[2]


def fail(results):
    raise OSError('a bug in a transform')


def test_other_errors_are_not_swallowed(tmp_path):
    write_images(tmp_path, ['a.png', 'b.png'])
    dataset = UnlabelledImages(str(tmp_path), pipeline=[LOAD_AND_PACK[0], fail])
    with pytest.raises(OSError, match='a bug'):
        dataset[0]
    assert dataset.num_unreadable == 0


@pytest.mark.slow
@pytest.mark.parametrize('start_method', ['fork', 'spawn'])
def test_workers_share_the_count(tmp_path, start_method):
    dataset = with_broken_files(tmp_path, 8, [0, 3, 5, 6])
    # What this process knows, the workers know: a repaired file is not looked at again.
    assert red(dataset[0]) == 1
    Image.new('RGB', (8, 8), (99, 0, 0)).save(tmp_path / '00.png')
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=2,
        collate_fn=pseudo_collate,
        multiprocessing_context=start_method,
    )
    # Worker 0 reads (0, 1) and (4, 5), worker 1 reads (2, 3) and (6, 7).
    read = [red(dict(inputs=image)) for batch in loader for image in batch['inputs']]
    assert read == [1, 1, 2, 4, 4, 7, 7, 7]
    assert dataset.num_unreadable == 4


@pytest.mark.slow
def test_workers_stop_the_run(tmp_path):
    # Neither worker alone meets more than two: only the shared count exceeds three.
    dataset = with_broken_files(tmp_path, 8, [0, 2, 4, 6], max_unreadable=3)
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=pseudo_collate)
    with pytest.raises(InputError, match='4 of 8 images are unreadable'):
        list(loader)
    gc.collect()  # ends the workers now, not in the middle of another test


@pytest.mark.slow
def test_copies_still_share_with_their_workers(tmp_path):
    dataset = with_broken_files(tmp_path, 4, [1])
    for twin in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        list(DataLoader(twin, num_workers=1, collate_fn=pseudo_collate))
        assert twin.num_unreadable == 1
    assert dataset.num_unreadable == 0


# ---- the whole pipeline ----


def build_loader(folder, num_workers):
    return Runner.build_dataloader(
        dict(
            batch_size=8,
            num_workers=num_workers,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='pseudo_collate'),
            dataset=dict(type='mmcnv2.UnlabelledImages', data_root=str(folder), pipeline=PRETRAIN, indices=64),
        ),
        seed=0,
    )


def test_dataloader_from_config_is_repeatable(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(16):
        pixels = rng.integers(0, 256, (40 + 20 * i, 300, 3), dtype=np.uint8)  # some are decoded reduced
        Image.fromarray(pixels).save(tmp_path / f'{i:02d}.jpg')
    runs = []
    for _ in range(2):
        loader = build_loader(tmp_path, num_workers=2)
        runs.append(torch.stack([image for batch in loader for image in batch['inputs']]))
    assert runs[0].shape == (16, 3, 64, 64) and runs[0].dtype == torch.uint8
    assert torch.equal(*runs)
    assert len(runs[0].flatten(1).unique(dim=0)) == 16


def test_real_photographs(samples):
    preprocessor = ImgDataPreprocessor(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    loader = build_loader(samples / 'imagenet1000', num_workers=0)
    batches = [preprocessor(batch)['inputs'] for batch in loader]
    inputs = torch.cat(batches)
    assert loader.dataset.num_unreadable == 0
    assert inputs.shape == (64, 3, 64, 64) and inputs.dtype == torch.float32
    # ImageNet's own mean and deviation: normalised photographs are near 0 and 1.
    assert inputs.mean().abs() < 0.3 and 0.7 < inputs.std() < 1.3
