"""A look at the first files before a training: another kind than the config reads, other bands than the model has."""

import numpy as np
import pytest
import tifffile
from mmengine.config import Config
from PIL import Image

from mmcnv2.datasets.images import said_once
from mmcnv2.preflight import check_images
from mmcnv2.utils.errors import ConfigError


@pytest.fixture
def check(tmp_path):
    def check(load, in_channels=3, mean=3, write=('6.tif',)):
        for name in write:
            if name.endswith('.tif'):
                array = np.zeros((32, 32, int(name[0])), np.uint16)
                tifffile.imwrite(tmp_path / name, array, photometric='minisblack', planarconfig='contig')
            elif name.startswith('cut'):
                (tmp_path / name).write_bytes(b'')
            else:
                Image.new('RGB', (32, 32)).save(tmp_path / name)
        model = dict(
            backbone=dict(type='mmcnv2.ConvNeXtV2', in_channels=in_channels),
            data_preprocessor=dict(type='mmcnv2.ImgDataPreprocessor', mean=[0] * mean, std=[1] * mean),
        )
        dataset = dict(type='mmcnv2.UnlabelledImages', data_root=str(tmp_path), pipeline=[load])
        check_images(Config(dict(model=model, train_dataloader=dict(dataset=dataset))), ('train', 'val'))

    return check


CROP = dict(type='mmcnv2.LoadRandomResizedCrop', size=32)
ALL = dict(CROP, bands='all')


def test_all_files_need_another_setting(check):
    with pytest.raises(
        ConfigError, match=r"pipeline\.0 cannot read any of 1 files.*6 bands of uint16.*Set bands='all'"
    ):
        check(CROP)
    check(CROP, write=('6.tif', 'a.png'))  # it is skipped
    check(CROP, write=('cut.png', 'a.png'))


@pytest.mark.parametrize(
    ('numbers', 'message'),
    [
        (dict(in_channels=3, mean=6), r'model\.backbone\.in_channels is for 3 bands, .* gives 6'),
        (dict(in_channels=6, mean=3), r'model\.data_preprocessor\.mean is for 3 bands, .* gives 6'),
    ],
)
def test_model_for_other_bands(check, numbers, message):
    with pytest.raises(ConfigError, match=message):
        check(ALL, **numbers)


def test_what_fits(check):
    state = np.random.get_state()[1].copy()
    check(ALL, in_channels=6, mean=6)
    check(ALL, in_channels=6, mean=1)
    check(dict(ALL, bands=[3, 2, 1]))
    assert (np.random.get_state()[1] == state).all()  # the training draws the crops that it would have drawn


def test_losses_are_said_in_every_run(check, monkeypatch):
    said = []
    monkeypatch.setattr('mmcnv2.datasets.images.print_log', lambda message, **kwargs: said.append(message))
    for _ in range(2):
        said_once.warn('pages', 'of the run before')
        said.clear()
        check(dict(type='mmcnv2.LoadImage'), write=('a.png',))
        said_once.warn('pages', 'of this run')
        assert len(said) == 1
