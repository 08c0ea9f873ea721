import numpy as np

from mmcnv2.inference import Classification, Detections, Reconstruction, Segmentation

IMAGE = np.full((100, 120, 3), 90, dtype=np.uint8)


def detections(parts):
    boxes = np.array([[10, 20, 30, 60], [50, 5, 90, 40]], dtype=np.float32)
    scores = np.array([0.9, 0.5], dtype=np.float32)
    return Detections(None, IMAGE, ('cat', 'dög'), boxes=boxes, scores=scores, labels=np.array([1, 0]), parts=parts)


def test_masks_of_parts():
    part = np.array([[True, False], [True, True]])
    whole = np.zeros((100, 120), dtype=bool)
    whole[50] = True
    masks = detections([(118, 98, part), (0, 0, whole)]).masks
    assert masks.shape == (2, 100, 120) and masks.dtype == bool
    assert np.argwhere(masks[0]).tolist() == [[98, 118], [99, 118], [99, 119]]
    assert (masks[1] == whole).all()
    assert detections(None).masks is None


def test_no_objects():
    nothing = np.zeros((0, 4), dtype=np.float32)
    empty = Detections(
        None, IMAGE, ('cat',), boxes=nothing, scores=nothing[:, 0], labels=nothing[:, 0].astype(int), parts=[]
    )
    assert empty.masks.shape == (0, 100, 120) and empty.masks.dtype == bool
    assert (empty.draw() == IMAGE).all()


def test_detections_are_drawn_where_they_are():
    masks = np.zeros((2, 100, 120), dtype=bool)
    masks[0, 20:61, 10:31], masks[1, 5:41, 50:91] = True, True
    for parts in (None, [(0, 0, mask) for mask in masks]):
        drawn = detections(parts).draw()
        assert drawn.shape == IMAGE.shape and drawn.dtype == np.uint8
        changed = (drawn != IMAGE).any(axis=-1)
        assert changed[60, 12:28].all() and changed[20:60, 10].all()  # an edge of the first box
        assert changed[50, 20] == (parts is not None)  # its inside, away from the text
        assert not changed[70:, :].any()
    assert (IMAGE == 90).all()


def test_background_stays_as_it_is():
    label_map = np.zeros((100, 120), dtype=np.uint8)
    label_map[:, 60:] = 1
    with_background = Segmentation(None, IMAGE, ('background', 'sky'), label_map=label_map).draw()
    assert (with_background[:, :60] == IMAGE[:, :60]).all() and (with_background[5, 115] != 90).any()
    without = Segmentation(None, IMAGE, ('wall', 'sky'), label_map=label_map).draw()
    assert (without[5, 5] != 90).any() and (without[5, 5] != without[5, 115]).any()


def test_reconstruction_is_drawn_beside_the_image():
    other = np.zeros_like(IMAGE)
    drawn = Reconstruction(None, IMAGE, mask=np.ones((1, 1), bool), reconstruction=other, masked=other).draw()
    assert drawn.shape == (100, 3 * 124 - 4, 3)
    assert (drawn[:, :120] == 90).all() and not drawn[:, 124:244].any()


def test_class_is_written_on_the_image():
    probabilities = np.array([0.2, 0.8], dtype=np.float32)
    drawn = Classification(None, IMAGE, ('cat', 'dog'), label=1, probabilities=probabilities).draw()
    assert (drawn[:20, :40] != 90).any() and (drawn[50:] == 90).all()
