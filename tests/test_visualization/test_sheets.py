import numpy as np

from mmcnv2.visualization import contact_sheet

BLACK = np.zeros((40, 60, 3), dtype=np.uint8)


def test_contact_sheet_places_rows_and_columns():
    white, grey = np.full_like(BLACK, 255), np.full_like(BLACK, 128)
    sheet = contact_sheet([[BLACK, grey], [white, BLACK]], titles=['a', 'b'], gap=2)
    assert sheet.shape == (24 + 2 * 42 - 2, 2 * 62 - 2, 3)
    body = sheet[24:]
    assert not body[:40, :60].any() and (body[:40, 62:] == 128).all() and (body[42:, :60] == 255).all()
    assert (body[40:42] == 255).all() and (sheet[:24] < 255).any()
