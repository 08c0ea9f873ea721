"""Whole models as ONNX files: the network with normalization and what comes after it, of standard operators.

A file is compared with its model when it is written, and says how images become its input
(``mmcnv2.inference.onnx_models``), so that ``Predictor`` runs it without the model's code.
"""

from .exporting import PRECISIONS, Report, export_model, prepare, write

__all__ = ['PRECISIONS', 'Report', 'export_model', 'prepare', 'write']
