import numpy as np

from mmcnv2.visualization import draw_boxes, draw_caption, draw_instances, draw_label_map
from mmcnv2.visualization.labels import PALETTE

BLACK = np.zeros((40, 60, 3), dtype=np.uint8)


def colour(index):
    return np.array([int(PALETTE[index][i : i + 2], 16) for i in (1, 3, 5)])


def test_instances_are_tinted_and_boxed():
    masks = np.zeros((1, 40, 60), dtype=bool)
    masks[0, 20:30, 10:50] = True
    out = draw_instances(BLACK, masks, [1], [''])
    np.testing.assert_allclose(out[25, 30], colour(1) * 0.45, atol=1)  # inside
    assert (out[20, 10:50] == colour(1)).all() and (out[29, 10:50] == colour(1)).all()  # the box
    assert not out[:20].any() and not out[30:].any()
    assert not BLACK.any()  # the image itself is left alone


def test_a_class_has_the_same_colour_whatever_else_is_drawn():
    one = draw_boxes(BLACK, [[5, 5, 20, 20]], [3], [''])
    two = draw_boxes(BLACK, [[30, 5, 50, 20], [5, 5, 20, 20]], [0, 3], ['', ''])
    assert (one[5, 5:20] == colour(3)).all() and (two[5, 5:20] == colour(3)).all()
    again = draw_boxes(BLACK, [[5, 5, 20, 20]], [3 + len(PALETTE)], [''])
    assert (again == one).all()


def test_texts_stay_within_the_image_and_may_have_any_letters():
    image = np.zeros((60, 160, 3), dtype=np.uint8)
    out = draw_boxes(image, [[0, 0, 30, 30]], [0], ['Straße 0.99'])  # no room above the box
    white = (out > 200).all(axis=-1)
    assert white.any()
    assert (draw_boxes(image, [[0, 0, 30, 30]], [0], ['Strasse 0.99']) != out).any()
    caption = draw_caption(image, 'cat 0.50', 0)
    assert (caption > 200).all(axis=-1).any() and not caption[40:].any()


def test_white_text_is_legible_on_every_colour():
    for index in range(len(PALETTE)):
        linear = np.where(colour(index) <= 10, colour(index) / 3294, ((colour(index) / 255 + 0.055) / 1.055) ** 2.4)
        luminance = linear @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (luminance + 0.05) >= 4  # WCAG 2.1's contrast; it asks for 3 of large or bold text


def test_label_map_leaves_background_and_ignored_pixels():
    label_map = np.zeros((40, 60), dtype=np.uint8)
    label_map[:10], label_map[30:] = 2, 255
    out = draw_label_map(BLACK, label_map)
    np.testing.assert_allclose(out[:10], np.broadcast_to(colour(1) * 0.45, (10, 60, 3)), atol=1)
    assert not out[10:].any()
    assert (draw_label_map(BLACK, np.full((40, 60), 255, np.uint8)) == 0).all()


def test_label_map_with_names():
    label_map = np.ones((40, 60), dtype=np.uint8)
    plain, named = (draw_label_map(BLACK, label_map, classes, None) for classes in (None, ('a', 'tree')))
    assert (plain == plain[0, 0]).all() and (named != plain).any()
