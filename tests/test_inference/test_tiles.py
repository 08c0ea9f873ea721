import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmcnv2.inference.tiles import average_logits, check_tiles, tile_windows
from mmcnv2.utils.errors import InputError


def test_windows_by_hand():
    # 250 pixels in tiles of 100 that share 20: strides of at most 80, so 3 tiles with strides of 75.
    assert tile_windows(100, 250, 100, 0.2) == [[(0, 0, 100, 100), (75, 0, 100, 100), (150, 0, 100, 100)]]
    assert tile_windows(60, 100, 100, 0.2) == [[(0, 0, 100, 60)]]
    assert tile_windows(180, 50, 100, 0.2) == [[(0, 0, 50, 100)], [(0, 80, 50, 100)]]


@given(st.integers(1, 400), st.integers(1, 400), st.integers(32, 200), st.sampled_from([0, 0.2, 0.5, 0.9]))
def test_windows_cover_every_pixel_and_overlap(height, width, tile, overlap):
    covered = np.zeros((height, width), dtype=bool)
    rows = tile_windows(height, width, tile, overlap)
    for x, y, w, h in (window for row in rows for window in row):
        assert (w, h) == (min(tile, width), min(tile, height)) and x + w <= width and y + h <= height
        covered[y : y + h, x : x + w] = True
    assert covered.all()
    for one, other in zip(rows[0], rows[0][1:], strict=False):
        assert one[0] + tile - other[0] >= int(tile * overlap)  # rounded to whole pixels


@pytest.mark.parametrize('batch_size', [1, 2, 5])
def test_average_of_logits(batch_size):
    torch.manual_seed(0)
    height, width, classes = 130, 90, 3
    rows = tile_windows(height, width, 50, 0.3)
    logits = {window: torch.randn(classes, window[3], window[2]) for row in rows for window in row}
    total, count = torch.zeros(classes, height, width), torch.zeros(height, width)
    for (x, y, w, h), values in logits.items():
        total[:, y : y + h, x : x + w] += values
        count[y : y + h, x : x + w] += 1
    batches = [row[i : i + batch_size] for row in rows for i in range(0, len(row), batch_size)]
    strips = list(average_logits(((some, [logits[one] for one in some]) for some in batches), width))
    assert len(strips) == len(rows)  # none is kept longer than needed
    torch.testing.assert_close(torch.cat(strips, dim=1), total / count)


@pytest.mark.parametrize(('tile', 'overlap'), [(31, 0.2), (512, 0.95), (512, -0.1)])
def test_refusals(tile, overlap):
    with pytest.raises(InputError, match=r'(tile|overlap) must be'):
        check_tiles(tile, overlap)
