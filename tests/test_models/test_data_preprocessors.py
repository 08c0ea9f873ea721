"""The libraries' data preprocessors with any number of bands, against the libraries' own band by band."""

import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS

import mmcnv2  # noqa: F401  (registers the models)
from mmcnv2.utils.errors import InputError

KINDS = {
    'mmcnv2.ImgDataPreprocessor': 'mmengine.ImgDataPreprocessor',
    'mmcnv2.SegDataPreProcessor': 'mmseg.SegDataPreProcessor',
    'mmcnv2.DetDataPreprocessor': 'mmdet.DetDataPreprocessor',
}
MEAN, STD = [10.0, 20, 30, 400, 5000, 0.5], [1, 2, 3, 40, 500, 0.25]


def padding(kind):
    return dict(size_divisor=32, test_cfg=dict(size_divisor=32)) if 'Seg' in kind else dict(pad_size_divisor=32)


def data(images):
    from mmseg.structures import SegDataSample

    return dict(inputs=images, data_samples=[SegDataSample() for _ in images])


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('count', [1, 2, 6])
def test_each_band_is_normalised_and_padded_as_by_the_library(kind, count):
    images = [torch.rand(count, 40, 64) * 100, torch.rand(count, 40, 64) * 100]
    ours = MODELS.build(dict(type=kind, mean=MEAN[:count], std=STD[:count], **padding(kind)))
    result = ours(data(images))['inputs']
    assert result.shape == (2, count, 64, 64)
    for i in range(count):
        library = MODELS.build(dict(type=KINDS[kind], mean=MEAN[i : i + 1], std=STD[i : i + 1], **padding(kind)))
        expected = library(data([image[i : i + 1] for image in images]))['inputs']
        torch.testing.assert_close(result[:, i : i + 1], expected)


@pytest.mark.parametrize('kind', KINDS)
def test_rgb_is_as_by_the_library(kind):
    images = [torch.randint(0, 256, (3, 32, 64), dtype=torch.uint8)]
    options = dict(mean=MEAN[:3], std=STD[:3], bgr_to_rgb=True)
    results = [MODELS.build(dict(type=name, **options))(data(images))['inputs'] for name in (kind, KINDS[kind])]
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('kind', KINDS)
def test_what_does_not_fit(kind):
    images = [torch.zeros(6, 32, 32)]
    for options, message in [
        (dict(mean=MEAN[:3], std=STD[:3]), 'images have 6 bands, mean and std 3 numbers'),
        (
            dict(mean=MEAN[:1], std=STD[:1], bgr_to_rgb=True),
            'bgr_to_rgb and rgb_to_bgr are for 3 bands, images have 6',
        ),
    ]:
        preprocessor = MODELS.build(dict(type=kind, **options))
        with pytest.raises(InputError, match=message):
            preprocessor(data(images))
    for options, message in [
        (dict(mean=MEAN), 'as many numbers'),
        (dict(mean=MEAN, std=STD[:5]), 'as many numbers'),
        (dict(mean=MEAN, std=[0, *STD[1:]]), 'std must be above 0'),
    ]:
        with pytest.raises(InputError, match=message):
            MODELS.build(dict(type=kind, **options))


def test_pretraining_imports_neither_mmdet_nor_mmseg(root):
    code = (
        'import sys, mmcnv2; from mmengine.registry import MODELS; '
        "MODELS.build(dict(type='mmcnv2.ImgDataPreprocessor', mean=[1, 2], std=[1, 2])); "
        "print([name for name in ('mmdet', 'mmseg') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == '[]'
