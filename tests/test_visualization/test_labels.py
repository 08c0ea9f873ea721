import numpy as np

from mmcnv2.visualization import contact_sheet, draw_instances, draw_label_map
from mmcnv2.visualization.labels import COLOURS

BLACK = np.zeros((40, 60, 3), dtype=np.uint8)


def test_instances_are_tinted_and_boxed():
    masks = np.zeros((1, 40, 60), dtype=bool)
    masks[0, 20:30, 10:50] = True
    out = draw_instances(BLACK, masks, [1], [''])
    assert (out[25, 30] == np.array(COLOURS[1]) // 2).all()  # inside: half black, half colour
    assert (out[20, 10:50] == COLOURS[1]).all() and (out[29, 10:50] == COLOURS[1]).all()  # the box
    assert not out[:20].any() and not out[30:].any()
    assert not BLACK.any()  # the image itself is left alone


def test_label_map_leaves_background_and_ignored_pixels():
    label_map = np.zeros((40, 60), dtype=np.uint8)
    label_map[:10], label_map[30:] = 2, 255
    out = draw_label_map(BLACK, label_map)
    assert (out[:10] == np.array(COLOURS[1]) // 2).all()
    assert not out[10:].any()


def test_contact_sheet_places_rows_and_columns():
    white, grey = np.full_like(BLACK, 255), np.full_like(BLACK, 128)
    sheet = contact_sheet([[BLACK, grey], [white, BLACK]], titles=['a', 'b'], gap=2)
    assert sheet.shape == (24 + 2 * 42 - 2, 2 * 62 - 2, 3)
    body = sheet[24:]
    assert not body[:40, :60].any() and (body[:40, 62:] == 128).all() and (body[42:, :60] == 255).all()
    assert (body[40:42] == 255).all() and (sheet[:24] < 255).any()
