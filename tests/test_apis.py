"""The Python API. (``train`` and ``test`` are what the commands call: tests/test_tools/test_train_and_test.py.)"""

import pytest
import torch
from helpers.foreign import foreign_state_dict
from helpers.models import OTHER_ARCH, build_backbone, build_fcmae, error

from mmcnv2 import apis


@pytest.mark.parametrize('format', ['official', 'timm', 'mmpretrain', 'transformers'])
def test_backbone_from_weights_of_others(format, tmp_path):
    model = build_backbone(OTHER_ARCH, out_norm=False).eval()
    torch.save(foreign_state_dict(format, model), tmp_path / 'weights.pth')
    backbone = apis.get_backbone(str(tmp_path / 'weights.pth'))
    assert (backbone.depths, backbone.channels) == (OTHER_ARCH['depths'], OTHER_ARCH['channels'])
    assert not backbone.training and not backbone.out_norm
    images = torch.randn(2, 3, 64, 96)
    maps = backbone(images)
    assert [tuple(map_.shape) for map_ in maps] == [(2, 6, 16, 24), (2, 4, 8, 12), (2, 14, 4, 6), (2, 10, 2, 3)]
    for actual, expected in zip(maps, model(images), strict=True):
        assert error(actual, expected) < 1e-6


def test_backbone_of_a_pre_training(tmp_path):
    """Chosen stages, in order; output norms are left out, since pre-training has none."""
    model = build_fcmae(OTHER_ARCH)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=1)), tmp_path / 'epoch_1.pth')
    backbone = apis.get_backbone(str(tmp_path / 'epoch_1.pth'), out_indices=(1, 3))
    images = torch.randn(1, 3, 64, 64)
    first, second = backbone(images)
    assert first.shape == (1, 4, 8, 8)
    assert error(second, model.eval().backbone(images)[-1]) < 1e-6


def test_a_file_that_could_run_code_is_refused(tmp_path):
    torch.save(dict(state_dict=build_backbone().state_dict(), args=print), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='could run any code'):
        apis.get_backbone(str(tmp_path / 'a.pth'))
    assert apis.get_backbone(str(tmp_path / 'a.pth'), allow_pickle=True).channels == (4, 8, 12, 16)
