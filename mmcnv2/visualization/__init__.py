from .composite import composite
from .labels import background_of, draw_boxes, draw_caption, draw_instances, draw_label_map
from .reconstruction import GREY, draw_reconstructions, reconstruction_sheet
from .sheets import contact_sheet, padded_sheet

__all__ = [
    'GREY',
    'background_of',
    'composite',
    'contact_sheet',
    'draw_boxes',
    'draw_caption',
    'draw_instances',
    'draw_label_map',
    'draw_reconstructions',
    'padded_sheet',
    'reconstruction_sheet',
]
