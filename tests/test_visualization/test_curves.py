from mmcnv2.utils.run_log import RunLog
from mmcnv2.visualization.curves import plot_curves

LOSS = [(10, 3.0), (20, 2.0)]


def test_a_panel_for_each_curve():
    log = RunLog(training=dict(loss=LOSS, lr=LOSS, time=LOSS), validation={'mIoU': [(20, 50.0)], 'aAcc': [(20, 80.0)]})
    panels = {axes.get_title(): axes for axes in plot_curves({'run': log}).axes}
    assert list(panels) == ['loss', 'learning rate', 'mIoU']  # the main metric of a segmenter
    assert panels['loss'].lines[0].get_xydata().tolist() == [[10, 3], [20, 2]]
    assert panels['mIoU'].lines[0].get_xydata().tolist() == [[20, 50]]


def test_several_runs_share_panels():
    other = RunLog(training=dict(loss=[(10, 1.0)]), validation={'coco/bbox_mAP': [(10, 0.3)]})
    figure = plot_curves({'a': RunLog(training=dict(loss=LOSS)), 'b': other})
    loss, box = figure.axes
    assert [line.get_label() for line in loss.lines] == ['a', 'b'] and len(box.lines) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['a', 'b']
    assert loss.lines[1].get_color() == box.lines[0].get_color()  # of one run


def test_nothing_but_times():
    assert plot_curves({'a': RunLog(training=dict(time=LOSS))}).axes == []
