# What segmenters have besides default_runtime.py: pictures of their predictions (tools/test.py --show-dir), and a log
# that counts iterations.
_base_ = 'default_runtime.py'

default_hooks = dict(visualization=dict(type='SegVisualizationHook'))
visualizer = dict(type='SegLocalVisualizer', name='visualizer')
log_processor = dict(by_epoch=False)
