"""``mmcnv2 report``: one page of what a training did and, with a checkpoint, what it finds and misses."""

from .report import write_report

__all__ = ['write_report']
