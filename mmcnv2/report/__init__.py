"""Pages to look at: what the network of a config gets, and what a training did and finds."""

from .inputs import write_inputs_page
from .report import write_report

__all__ = ['write_inputs_page', 'write_report']
