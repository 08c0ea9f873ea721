# What detectors have besides default_runtime.py: pictures of their predictions (tools/test.py --show-dir).
_base_ = 'default_runtime.py'

default_hooks = dict(visualization=dict(type='DetVisualizationHook'))
visualizer = dict(type='DetLocalVisualizer', name='visualizer')
