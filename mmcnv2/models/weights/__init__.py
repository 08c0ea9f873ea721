"""Weights from anywhere: files are read safely, their format is recognised, and they are matched with the model."""
