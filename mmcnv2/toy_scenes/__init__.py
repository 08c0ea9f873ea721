"""Built-in data: small rendered photographs of six kinds of solid object, made on this machine.

See ``docs/reference/toy_scenes.md``. Nothing is downloaded, and mmdet and mmseg are not imported.
"""

from .objects import CLASSES
from .scene import Scene, render_scene
from .writer import write_toy_scenes

__all__ = ['CLASSES', 'Scene', 'render_scene', 'write_toy_scenes']
