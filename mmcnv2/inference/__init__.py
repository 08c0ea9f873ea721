"""``Predictor``: images, folders, videos, a camera or arrays in, results out; and how results are written to files."""

from .predictor import Predictor
from .results import Classification, Detections, Reconstruction, Result, Segmentation

__all__ = ['Classification', 'Detections', 'Predictor', 'Reconstruction', 'Result', 'Segmentation']
