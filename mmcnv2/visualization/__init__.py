from .labels import contact_sheet, draw_instances, draw_label_map
from .reconstruction import reconstruction_sheet

__all__ = ['contact_sheet', 'draw_instances', 'draw_label_map', 'reconstruction_sheet']
