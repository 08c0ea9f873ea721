"""What is read of images, what is made of it, and what happens to images that cannot be read."""

import logging

import numpy as np
import pytest
import torch
from helpers.models import ARCH, build_backbone
from PIL import Image
from torch import nn

from mmcnv2.evaluation.features import (
    Sample,
    centre_window,
    gather_features,
    image_batches,
    pool,
    pooled_features,
    random_backbone,
)
from mmcnv2.models.normalization import IMAGENET, Normalization
from mmcnv2.utils.errors import InputError


class Identity(nn.Module):
    """Two maps: the normalised pixels, and every second of them times 10."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.weight * x, 10 * x[:, :, ::2, ::2]


def save(path, pixels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return str(path)


def plain(path, colour, height=64, width=96):
    return save(path, np.full((height, width, 3), colour, np.uint8))


@pytest.fixture
def warnings_logged(monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmcnv2.evaluation.features.print_log',
        lambda message, logger, level: messages.append((level, message)),
    )
    return messages


def test_images_are_resized_and_cut_as_for_imagenet(tmp_path):
    """Against Pillow: shorter side to 256, then the middle 224 x 224; at the edges the filter sees less here."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((640, 512), Image.Resampling.BICUBIC)
    path = str(tmp_path / 'image.png')
    image.save(path)
    ((indices, images),) = image_batches([Sample(path)])
    expected = image.resize((320, 256), Image.Resampling.BICUBIC).crop((48, 16, 272, 240))
    difference = np.abs(images[0].permute(1, 2, 0).numpy().astype(int) - np.asarray(expected).astype(int))
    assert indices.tolist() == [0] and images.shape == (1, 3, 224, 224) and images.dtype == torch.uint8
    assert difference[4:-4, 4:-4].max() <= 1


def test_centre_window():
    assert centre_window(512, 640) == (32, 96, 448, 448)
    assert centre_window(1, 5) == (0, 2, 1, 1)


def test_pooling_normalises_and_concatenates_the_stages(tmp_path):
    """Of an image of one colour, every mean is that colour, normalised."""
    path = plain(tmp_path / 'image.png', (10, 20, 30))
    ((_, images),) = image_batches([Sample(path)], image_size=32)
    normalised = [(value - mean) / std for value, mean, std in zip((10, 20, 30), *IMAGENET, strict=True)]
    expected = torch.tensor([[*normalised, *(10 * value for value in normalised)]])
    torch.testing.assert_close(pool(Identity(), images), expected)
    other = Identity()
    other.normalization = Normalization((10, 10, 10), (1, 2, 4))
    assert pool(other, images).tolist() == [[0, 5, 5, 0, 50, 50]]


@pytest.mark.parametrize('num_workers', [0, 1])
def test_windows(tmp_path, num_workers):
    """Red in the window of the first object, blue in that of the second; a small window becomes as large as any."""
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[10:30, 5:25] = 255, 0, 0
    pixels[40:44, 50:54] = 0, 0, 255
    path = save(tmp_path / 'image.png', pixels)
    samples = [Sample(path, window=window) for window in ((10, 5, 20, 20), (40, 50, 4, 4), (0, 0, 5, 30))]
    ((indices, images),) = image_batches(samples, image_size=32, num_workers=num_workers)
    assert indices.tolist() == [0, 1, 2]
    assert images.shape == (3, 3, 32, 32)
    assert [image.unique_consecutive().tolist() for image in images] == [[255, 0], [0, 255], [0]]


def test_unreadable_images_are_left_out_with_a_warning_each(tmp_path, warnings_logged):
    paths = [plain(tmp_path / f'{i}.png', i) for i in range(5)]
    (tmp_path / '1.png').write_bytes(b'no image')
    (tmp_path / '4.png').unlink()
    samples = [Sample(path) for path in paths] + [Sample(paths[1], window=(0, 0, 9, 9))]
    kept, features = gather_features({'a': Identity(), 'b': Identity()}, samples, image_size=32, batch_size=2)
    assert kept.tolist() == [0, 2, 3]
    assert features['a'].shape == (3, 6) and torch.equal(features['a'], features['b'])
    assert torch.allclose(
        features['a'][:, 0] * IMAGENET.std[0] + IMAGENET.mean[0], torch.tensor([0.0, 2, 3]), atol=1e-4
    )
    assert [level for level, _ in warnings_logged] == 2 * [logging.WARNING]
    assert [paths[i] in message for i, (_, message) in zip((1, 4), warnings_logged, strict=True)] == [True, True]


def test_a_box_outside_the_image(tmp_path, warnings_logged):
    path = plain(tmp_path / 'image.png', 0, height=64, width=96)
    samples = [Sample(path, window=(0, 60, 40, 40)), Sample(path, window=(0, 50, 40, 40))]
    ((indices, _),) = image_batches(samples, image_size=32)
    assert indices.tolist() == [1]
    assert 'the image is 96x64' in warnings_logged[0][1] and 'reaches 100x40' in warnings_logged[0][1]


def test_no_readable_image():
    with pytest.raises(InputError, match=r"none of 1 images can be read, for instance 'absent\.jpg'"):
        gather_features({'a': Identity()}, [Sample('absent.jpg')])


def test_features_do_not_depend_on_the_batch(tmp_path):
    backbone = build_backbone(ARCH, out_indices=(1, 3), out_norm=False).eval()
    rng = np.random.default_rng(0)
    samples = [
        Sample(save(tmp_path / f'{i}.png', rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))) for i in range(5)
    ]
    one, two = (list(pooled_features(backbone, samples, image_size=64, batch_size=size)) for size in (2, 5))
    assert [indices.tolist() for indices, _ in one] == [[0, 1], [2, 3], [4]]
    together = torch.cat([features for _, features in one])
    assert together.shape == (5, 8 + 16)
    torch.testing.assert_close(together, two[0][1], rtol=1e-4, atol=1e-5)


def test_progress(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('mmcnv2.utils.progress._SECONDS_BETWEEN_LINES', 0)
    samples = [Sample(plain(tmp_path / f'{i}.png', i)) for i in range(3)]
    list(pooled_features(Identity(), samples, image_size=32, batch_size=2))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith('features: 2 of 3 images, ') and 'ETA 0:00:0' in first
    assert second.startswith('features: 3 of 3 images, ') and second.endswith('ETA 0:00:00')
    list(pooled_features(Identity(), samples, image_size=32, batch_size=2, progress=False))
    assert capsys.readouterr().err == ''


def test_random_backbone():
    given = build_backbone(ARCH, out_indices=(1, 2), out_norm=True)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    fresh = random_backbone(given, seed=1)
    assert torch.equal(torch.rand(1), expected)  # it leaves the generator alone
    assert not fresh.training and fresh.out_indices == (1, 2)
    weights = [one.state_dict() for one in (fresh, random_backbone(given, seed=1), random_backbone(given, seed=2))]
    assert weights[0].keys() == given.state_dict().keys()
    key = 'stages.2.0.pwconv1.weight'
    assert torch.equal(weights[0][key], weights[1][key])
    assert not torch.equal(weights[0][key], weights[2][key])
    assert weights[0][key].std().item() == pytest.approx(0.02, rel=0.15)
