"""FCMAE's targets that are constant a channel are named in the first iteration."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmcnv2.engine.hooks import ConstantTargetsHook
from mmcnv2.engine.hooks.constant_targets import constant_share
from mmcnv2.models import FCMAE

IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def model(norm_pix_loss=True, **preprocessor):
    backbone = dict(type='mmcnv2.ConvNeXtV2', arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8]))
    preprocessor = dict(type='mmengine.ImgDataPreprocessor', **preprocessor)
    return FCMAE(backbone, decoder_embed_dims=8, norm_pix_loss=norm_pix_loss, data_preprocessor=preprocessor)


def warned(model, inputs):
    """What the hook says in the first two iterations."""
    hook, runner = ConstantTargetsHook(), SimpleNamespace(model=model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        hook.before_train(runner)
        for iteration in range(2):
            hook.before_train_iter(runner, iteration, dict(inputs=inputs))
    return [str(warning.message) for warning in caught]


@pytest.fixture
def dark_grey():
    """Grey images of 20 +- 4, in the three channels of a file."""
    pixels = 20.5 + 4 * torch.randn(20, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    return list(pixels.clamp(0, 255).byte().expand(-1, 3, -1, -1))


def test_grey_images_under_the_statistics_of_photographs(dark_grey):
    """20 is -1.78, -1.69 and -1.46 in the three channels: a variance of 0.018, and that of the pixels is 0.0048."""
    (message,) = warned(model(**IMAGENET), dark_grey)
    assert message.startswith("79% of the variance of FCMAE's targets is one constant a channel")
    assert 'data_preprocessor.mean=[20]*3, std=[4]*3' in message


@pytest.mark.parametrize(
    'other',
    [
        dict(mean=[20.0] * 3, std=[4.0] * 3),  # what it advises
        dict(norm_pix_loss=False, **IMAGENET),
        dict(),
    ],
)
def test_nothing_to_say(dark_grey, other):
    assert warned(model(**other), dark_grey) == []


def test_images_in_colour():
    pixels = torch.randint(0, 256, (4, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert warned(model(**IMAGENET), list(pixels)) == []


def test_share_by_hand():
    """Channels of means 1 and 3 (variance 1), pixels +-1 around them (variance 1), next to a patch of one value."""
    patch = np.array([0, 2, 2, 4] * 64, dtype=np.float32)  # two channels a pixel
    patches = torch.tensor(np.stack([patch, np.full_like(patch, 5)]))[None]
    assert constant_share(patches, channels=2) == pytest.approx(0.25, rel=5e-3)
