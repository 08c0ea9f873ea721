from .composite import composite
from .labels import draw_boxes, draw_caption, draw_instances, draw_label_map
from .reconstruction import draw_reconstructions, reconstruction_sheet
from .sheets import contact_sheet

__all__ = [
    'composite',
    'contact_sheet',
    'draw_boxes',
    'draw_caption',
    'draw_instances',
    'draw_label_map',
    'draw_reconstructions',
    'reconstruction_sheet',
]
