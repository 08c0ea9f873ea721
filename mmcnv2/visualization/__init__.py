from .reconstruction import reconstruction_sheet

__all__ = ['reconstruction_sheet']
