import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

import mmcnv2  # noqa: F401  (registers the models)
from mmcnv2.visualization import composite, draw_reconstructions, reconstruction_sheet


def test_sheet_shows_input_masked_and_visible_patches_unchanged():
    backbone = dict(type='mmcnv2.ConvNeXtV2', arch=dict(depths=(1, 1, 1, 1), channels=(4, 4, 4, 4)))
    mean, std = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
    model = MODELS.build(
        dict(
            type='mmcnv2.FCMAE',
            backbone=backbone,
            decoder_embed_dims=8,
            data_preprocessor=dict(type='ImgDataPreprocessor', mean=mean, std=std),
        )
    ).train()
    images = torch.randint(0, 256, (2, 3, 32, 64), dtype=torch.uint8)
    mask = torch.tensor([[[True, False]], [[False, True]]])
    sheet = reconstruction_sheet(model, list(images), mask)
    assert model.training
    assert sheet.shape == (2 * 36 - 4, 3 * 68 - 4, 3) and sheet.dtype == np.uint8
    rows = [sheet[:32], sheet[36:]]
    for row, image, visible in zip(rows, images, (slice(32, 64), slice(0, 32)), strict=True):
        columns = [row[:, 68 * i : 68 * i + 64] for i in range(3)]
        expected = image.permute(1, 2, 0).numpy()
        # Within one grey level: normalised and back.
        assert np.abs(columns[0].astype(int) - expected).max() <= 1
        for column in columns[1:]:
            assert np.abs(column[:, visible].astype(int) - expected[:, visible]).max() <= 1
        removed = np.delete(columns[1], np.arange(64)[visible], axis=1)
        assert (removed == 128).all()
        assert not np.array_equal(columns[2], columns[1])
    assert (sheet[32:36] == 255).all() and (sheet[:, 64:68] == 255).all()


@pytest.mark.parametrize(('count', 'bands'), [(1, None), (2, None), (6, None), (6, [5, 3, 1])])
@pytest.mark.parametrize('normalised', [True, False])
def test_any_number_of_bands(count, bands, normalised):
    """12 bits, in float: what is drawn of the input is what ``composite`` makes of it."""
    statistics = dict(mean=[800.0] * count, std=[300.0] * count) if normalised else {}
    model = MODELS.build(
        dict(
            type='mmcnv2.FCMAE',
            backbone=dict(
                type='mmcnv2.ConvNeXtV2', in_channels=count, arch=dict(depths=(1, 1, 1, 1), channels=(4, 4, 4, 4))
            ),
            decoder_embed_dims=8,
            data_preprocessor=dict(type='mmcnv2.ImgDataPreprocessor', **statistics),
        )
    )
    image = torch.rand(count, 64, 64) * 4095
    drawn = draw_reconstructions(model, [image], bands=bands)
    assert drawn.shape == (1, 3, 64, 64, 3)
    expected = composite(image.permute(1, 2, 0).numpy(), bands)
    assert np.abs(drawn[0, 0].astype(int) - expected).max() <= 1
